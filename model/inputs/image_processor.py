"""The image processor of a pretrained CLIP-like network, as our own preprocessing.

`preprocessor_config.json` (or `processor_config.json`, which holds one) of `transformers` is read;
what `PictureTransform` cannot do exactly as written there is refused, never ignored.

Source: `transformers`, image_processing_backends.PilBackend, and the classes named in `_DEFAULTS`.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from model.config import PreprocessorConfig, first_problem
from model.errors import CheckpointError

__all__ = ["RESAMPLING", "read_image_processor"]

# Pillow's numbers of its filters.
RESAMPLING = {1: "lanczos", 2: "bilinear", 3: "bicubic"}

_FILE = "preprocessor_config.json"
_COMBINED_FILE = "processor_config.json"

_CLIP = {
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_SIGLIP = {
    "size": {"height": 224, "width": 224},
    "do_center_crop": False,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
# What a class does where its file says nothing. The older names stand in older files.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "CLIPImageProcessor": _CLIP,
    "CLIPFeatureExtractor": _CLIP,
    "ChineseCLIPImageProcessor": _CLIP,
    "ChineseCLIPFeatureExtractor": _CLIP,
    "SiglipImageProcessor": _SIGLIP,
}
_COMMON_DEFAULTS = {
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "resample": 3,
}
# Bookkeeping, and what is always true here: our pictures are RGB when they come.
_WITHOUT_EFFECT = {
    "image_processor_type",
    "feature_extractor_type",
    "processor_class",
    "do_convert_rgb",
    "default_to_square",
    "data_format",
    "_valid_processor_keys",
}


def read_image_processor(folder: Path) -> PreprocessorConfig:
    """Return the preprocessing that the network in `folder` was trained with.

    Raises:
        CheckpointError: There is no such file, it is damaged, or it asks for something that
            `PictureTransform` does not do.
    """
    file, found = _read(folder)
    kind = _class_name(found)
    defaults = _DEFAULTS.get(kind)
    if defaults is None:
        raise CheckpointError(
            f"'{file}' asks for the image processor {kind}; the ones that can be honoured are "
            f"{', '.join(sorted(_DEFAULTS))}"
        )
    # To transformers null is no default: whatever is null is not done.
    settings = _COMMON_DEFAULTS | defaults | found
    is_normalised = settings["do_normalize"]
    _refuse_unknown(file, settings)
    for name, is_honoured in (
        ("do_resize", bool(settings["do_resize"])),
        ("do_rescale", bool(settings["do_rescale"])),
        ("rescale_factor", abs((settings["rescale_factor"] or 0) * 255 - 1) < 1e-6),
        ("resample", settings["resample"] in RESAMPLING),
        ("image_mean", not is_normalised or isinstance(settings["image_mean"], list)),
        ("image_std", not is_normalised or isinstance(settings["image_std"], list)),
    ):
        if not is_honoured:
            raise _refusal(file, name, settings[name])
    try:
        return PreprocessorConfig(
            **_geometry(file, settings),
            resample=RESAMPLING[settings["resample"]],
            mean=settings["image_mean"] if is_normalised else (0, 0, 0),
            std=settings["image_std"] if is_normalised else (1, 1, 1),
        )
    except ValidationError as error:
        raise CheckpointError(
            f"'{file}' cannot be honoured: {first_problem(error)}; use another network"
        ) from error


def _read(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return the file that holds the image processor's settings, and the settings."""
    # In this order, as transformers looks.
    for name in (_COMBINED_FILE, _FILE):
        file = folder / name
        if not file.is_file():
            continue
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            settings = found.get("image_processor") if name == _COMBINED_FILE else found
            if settings is not None:
                return file, dict(settings)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(f"'{file}' is damaged ({error})") from error
    raise CheckpointError(
        f"'{folder}' has no {_FILE}, so nobody knows how its pictures were resized; copy it from "
        "where the network comes from"
    )


def _geometry(file: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return image_size, resize and crop_fraction."""
    size, crop = settings["size"], settings.get("crop_size")
    is_clip_like = "crop_size" in _DEFAULTS[_class_name(settings)]
    if isinstance(size, int):  # older files: the shorter side where a crop follows, else both
        size = {"shortest_edge": size} if is_clip_like else {"height": size, "width": size}
    if isinstance(crop, int):
        crop = {"height": crop, "width": crop}
    if settings["do_center_crop"]:
        if not isinstance(crop, dict) or crop.get("height") != crop.get("width"):
            raise _refusal(file, "crop_size", crop)
        side = crop["height"]
    else:
        # Without a crop only a squash to a square gives pictures of one size.
        side = size.get("height") if isinstance(size, dict) else None
    if side is not None and size == {"height": side, "width": side}:
        return {"image_size": side, "resize": "squash"}  # a crop would leave all of it
    is_cut = settings["do_center_crop"] and isinstance(size, dict)
    if not is_cut or set(size) != {"shortest_edge"} or size["shortest_edge"] < side:
        raise _refusal(file, "size", size)
    return {"image_size": side, "resize": "crop", "crop_fraction": side / size["shortest_edge"]}


def _refuse_unknown(file: Path, settings: dict[str, Any]) -> None:
    known = {*_COMMON_DEFAULTS, *_CLIP, *_WITHOUT_EFFECT}
    for name, value in settings.items():
        if name not in known and value:
            raise _refusal(file, name, value)


def _class_name(settings: dict[str, Any]) -> str:
    name = settings.get("image_processor_type") or settings.get("feature_extractor_type")
    return str(name).removesuffix("Fast").removesuffix("Pil")


def _refusal(file: Path, name: str, value: object) -> CheckpointError:
    return CheckpointError(
        f"'{file}' says {name} = {value!r}, which this project's preprocessing does not do; "
        "use a network that resizes to a square, or resizes the shorter side and cuts the centre"
    )
