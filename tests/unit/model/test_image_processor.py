"""Pictures become the pixels that transformers' own processors make, or the file is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers.models.chinese_clip.image_processing_pil_chinese_clip import (
    ChineseCLIPImageProcessorPil,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from model.config import PreprocessorConfig
from model.errors import CheckpointError
from model.inputs.image_processor import read_image_processor
from model.inputs.pictures import PictureTransform

SIDE = {"height": 32, "width": 32}
CLIP: dict[str, Any] = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 32},
    "crop_size": SIDE,
}
SIGLIP: dict[str, Any] = {"image_processor_type": "SiglipImageProcessor", "size": SIDE}
# As openai's own files are written.
OLD: dict[str, Any] = {
    "feature_extractor_type": "CLIPFeatureExtractor",
    "size": 32,
    "crop_size": 32,
    "do_center_crop": True,
    "resample": 3,
}
HONOURED = {
    "clip": (CLIPImageProcessorPil, CLIP),
    "clip, older file": (CLIPImageProcessorPil, OLD),
    "clip, wider than its crop": (CLIPImageProcessorPil, CLIP | {"size": {"shortest_edge": 41}}),
    "clip, squashed": (CLIPImageProcessorPil, CLIP | {"size": SIDE}),
    "clip, bilinear": (CLIPImageProcessorPil, CLIP | {"resample": 2}),
    "clip, not normalised": (CLIPImageProcessorPil, CLIP | {"do_normalize": False}),
    "clip, nulls": (CLIPImageProcessorPil, CLIP | {"do_pad": None, "do_normalize": None}),
    "chinese clip": (
        ChineseCLIPImageProcessorPil,
        CLIP | {"image_processor_type": "ChineseCLIPImageProcessor"},
    ),
    "siglip": (SiglipImageProcessorPil, SIGLIP),
    "siglip, no crop": (SiglipImageProcessorPil, SIGLIP | {"do_center_crop": False}),
    "siglip, other values": (
        SiglipImageProcessorPil,
        SIGLIP | {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 1},
    ),
}
REFUSED = {
    "another class": {"image_processor_type": "Siglip2ImageProcessor"},
    "no class": {"image_processor_type": None},
    "no resizing": {"do_resize": False},
    "nothing said of resizing": {"do_resize": None},
    "no mean": {"image_mean": None},
    "one mean for all": {"image_mean": 0.5},
    "no filter": {"resample": None},
    "no scale": {"rescale_factor": None},
    "no size": {"size": None},
    "no size and no crop": {"size": None, "do_center_crop": False},
    "no rescaling": {"do_rescale": False},
    "another scale": {"rescale_factor": 1 / 127.5},
    "a filter of ours that is not": {"resample": 0},
    "no crop": {"do_center_crop": None},
    "a crop that is no square": {"crop_size": {"height": 32, "width": 48}},
    "a crop larger than the picture": {"size": {"shortest_edge": 30}},
    "a rectangle": {"size": {"height": 32, "width": 48}},
    "two edges": {"size": {"shortest_edge": 32, "longest_edge": 64}},
    "a crop of nothing": {"crop_size": None},
    "padding": {"do_pad": True},
    "something new": {"do_rotate_hue": 0.5},
    "more pixels than anybody": {"size": {"shortest_edge": 4096}, "crop_size": 4096},
}


def noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(width * height).integers(0, 256, (height, width, 3))
    return Image.fromarray(values.astype(np.uint8))


def written(folder: Path, settings: dict[str, Any]) -> Path:
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def pixels_of(processor: Any, picture: Image.Image) -> np.ndarray:
    """Return (height, width, 3) 0..255: what a processor of theirs made, before normalising."""
    values = np.asarray(processor(picture, return_tensors="np")["pixel_values"][0], np.float64)
    values = np.moveaxis(values, 0, -1)
    if processor.do_normalize:
        values = values * processor.image_std + processor.image_mean
    whole = np.round(values * 255)
    assert np.abs(values * 255 - whole).max() < 1e-3, "not the 8-bit pixels of a picture"
    return whole.astype(np.uint8)


@pytest.mark.parametrize("size", [(32, 32), (33, 50), (75, 41), (20, 31), (127, 33), (500, 375)])
@pytest.mark.parametrize("name", HONOURED)
def test_pixels_are_those_of_transformers_to_the_last_bit(
    name: str, size: tuple[int, int], tmp_path: Path
) -> None:
    processor_class, settings = HONOURED[name]
    config = read_image_processor(written(tmp_path, settings))
    ours = PictureTransform(config)(noise(*size)).transpose(1, 2, 0)
    processor = processor_class(**settings)
    np.testing.assert_array_equal(ours, pixels_of(processor, noise(*size)))
    if processor.do_normalize:
        assert (config.mean, config.std) == (
            tuple(processor.image_mean),
            tuple(processor.image_std),
        )
    else:
        assert (config.mean, config.std) == ((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize("size", [(160, 33), (21, 300), (1000, 40), (40, 2000)])
def test_a_ribbons_centre_is_that_of_the_whole_ribbon_to_one_grey_level(
    size: tuple[int, int],
) -> None:
    config = PreprocessorConfig(image_size=32, crop_fraction=0.9)
    # Away from black and white: Pillow cuts off overshoot between its two passes, and takes the
    # cheaper of them first, which is not the same one for a whole ribbon.
    ribbon = noise(*size).point(lambda value: 96 + value // 4)
    ours = PictureTransform(config)(ribbon).transpose(1, 2, 0).astype(int)
    whole = CLIPImageProcessorPil(size={"shortest_edge": round(32 / 0.9)}, crop_size=SIDE)
    assert np.abs(ours - pixels_of(whole, ribbon)).max() <= 1


def test_settings_are_found_inside_the_combined_file_as_well(tmp_path: Path) -> None:
    combined = {"processor_class": "CLIPProcessor", "image_processor": CLIP}
    (tmp_path / "processor_config.json").write_text(json.dumps(combined))
    assert read_image_processor(tmp_path).image_size == 32
    # As transformers does, it is asked first; one without an image processor says nothing.
    written(tmp_path, SIGLIP | {"size": {"height": 48, "width": 48}})
    assert read_image_processor(tmp_path).image_size == 32
    (tmp_path / "processor_config.json").write_text(json.dumps({"processor_class": "Any"}))
    assert read_image_processor(tmp_path).image_size == 48


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_honoured_is_refused_and_named(name: str, tmp_path: Path) -> None:
    change = REFUSED[name]
    folder = written(tmp_path, CLIP | change)
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json") as caught:
        read_image_processor(folder)
    told = str(caught.value)
    assert "\n" not in told
    named = {"image_processor_type": "image processor", "do_center_crop": "size"}
    if name == "more pixels than anybody":
        named["size"] = "image_size"
    assert any(named.get(key, key) in told for key in change)


def test_a_missing_and_a_damaged_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no preprocessor_config\.json"):
        read_image_processor(tmp_path)
    for damaged in ("{", "[1]", '"x"'):
        (tmp_path / "preprocessor_config.json").write_text(damaged)
        with pytest.raises(CheckpointError, match="damaged"):
            read_image_processor(tmp_path)
