"""What the index builder and the service see of a network: two independent encoders.

HREM is one `DualEncoder`, a pretrained CLIP-like model another. Both galleries are encoded without
looking at each other, so a gallery can be built, replaced and served alone.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeGuard, runtime_checkable

import torch
from PIL.Image import Image
from torch import Tensor

from model.errors import CheckpointError
from model.hub import local_folder
from model.inputs.pictures import PictureTransform
from model.precision import Precision

__all__ = [
    "DualEncoder",
    "RegionEncoder",
    "encode_in_batches",
    "files_of_dual_encoder",
    "load_dual_encoder",
    "reads_regions",
    "region_encoder",
]


@runtime_checkable
class DualEncoder(Protocol):
    """Two encoders into one space; a cosine compares their rows."""

    @property
    def dim(self) -> int:
        """Size of an embedding."""

    @property
    def fingerprint(self) -> str:
        """64 hex digits over weights, preprocessing and tokenizer."""

    @property
    def name(self) -> str:
        """What people call this network, for `/info` and logs."""

    @property
    def precision(self) -> Precision:
        """What it multiplies in; embeddings are float32 whatever it is."""

    @property
    def picture_transform(self) -> PictureTransform | None:
        """Makes pixels of a picture, in any process; None where it reads no pictures."""

    def encode_images(self, pictures: Sequence[Image], *, batch_size: int = 64) -> Tensor:
        """Return (image, dim): float32 on the CPU, unit rows, in the order given, no gradient."""

    def encode_pixels(self, pixels: Tensor, *, batch_size: int = 64) -> Tensor:
        """Return (image, dim) of (image, 3, height, width) uint8, what `picture_transform` gave."""

    def encode_captions(self, captions: Sequence[str], *, batch_size: int = 64) -> Tensor:
        """Return (caption, dim): float32 on the CPU, unit rows, in the order given, no gradient."""

    def truncated_captions(self, captions: Sequence[str]) -> list[bool]:
        """Return for each caption whether it is longer than the network reads."""


@runtime_checkable
class RegionEncoder(Protocol):
    """What a dual encoder of region features can do besides."""

    @property
    def region_dim(self) -> int | None:
        """Width of the region features that it reads; None where it reads pictures."""

    def encode_regions(
        self, features: Any, lengths: Sequence[int] | Tensor | None = None, *, batch_size: int = 64
    ) -> Tensor:
        """Return (image, dim) of region features, as `HREM.encode_regions`."""


def reads_regions(encoder: DualEncoder) -> TypeGuard[RegionEncoder]:
    """Return whether `encoder` reads region features, and not pictures."""
    return isinstance(encoder, RegionEncoder) and encoder.region_dim is not None


def region_encoder(encoder: DualEncoder) -> RegionEncoder:
    """Return `encoder`, which reads region features.

    Raises:
        CheckpointError: It reads pictures.
    """
    if reads_regions(encoder):
        return encoder
    raise CheckpointError(
        f"this checkpoint ({encoder.name}) was trained on pictures and cannot read region "
        "features; give pictures, or a checkpoint trained on region features"
    )


def load_dual_encoder(
    path_or_name: str | Path, *, device: str = "cpu", precision: Precision = "float32"
) -> DualEncoder:
    """Return the network of a checkpoint, in eval mode on `device`.

    Args:
        path_or_name: Folder or hub name of an HREM checkpoint, or of a CLIP-like model of
            `transformers`; the `config.json` in it says which.
        device: Where the network runs.
        precision: What it multiplies in when it encodes.

    Raises:
        CheckpointError: There is no such checkpoint, or it is damaged.
    """
    # The protocol must be importable without transformers, which takes seconds to load.
    folder = local_folder(path_or_name)
    if _is_pretrained_model(folder):
        from model.pretrained_dual_encoder import PretrainedDualEncoder

        return PretrainedDualEncoder.load(folder, device=device, precision=precision)
    from model.hrem import HREM

    return HREM.from_pretrained(folder, device=device, precision=precision)


def files_of_dual_encoder(path_or_name: str | Path) -> dict[str, Path]:
    """Return the files that `load_dual_encoder` needs of a checkpoint, by their names in it."""
    folder = local_folder(path_or_name)
    if _is_pretrained_model(folder):
        from model.pretrained_dual_encoder import pretrained_files

        return pretrained_files(folder)
    from model.checkpoint import checkpoint_files

    return checkpoint_files(folder)


@torch.no_grad()
def encode_in_batches(
    rows: Sequence[int],
    encode: Callable[[Sequence[int]], Tensor],
    *,
    dim: int,
    batch_size: int,
    device: torch.device,
    precision: Precision,
) -> Tensor:
    """Return one embedding a row (row, dim), float32 on the CPU, written to the row's own place.

    Args:
        rows: Every one of 0 to count - 1, in the order in which they are encoded.
        encode: Returns (row, dim) of some of them.
        dim: Size of an embedding.
        batch_size: How many rows `encode` gets at once.
        device: Where `encode` computes.
        precision: What its products are in.
    """
    embeddings = torch.empty(len(rows), dim)
    for start in range(0, len(rows), batch_size):
        chosen = rows[start : start + batch_size]
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            encoded = encode(chosen)
        embeddings[torch.as_tensor(chosen)] = encoded.float().cpu()
    return embeddings


def _is_pretrained_model(folder: Path) -> bool:
    """Return whether a folder holds a model of `transformers`; else it is taken for ours."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # whoever reads a checkpoint of ours says what is wrong with it
    if not isinstance(config, dict) or "schema_version" in config:
        return False
    if "model_type" not in config:
        raise CheckpointError(
            f"'{folder / 'config.json'}' has neither schema_version, as checkpoints written by "
            "`train` have, nor model_type, as the models of transformers have; give one of the two"
        )
    return True
