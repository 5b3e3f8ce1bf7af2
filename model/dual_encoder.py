"""What the index builder and the service see of a network: two independent encoders.

HREM is one `DualEncoder`. Both galleries are encoded without looking at each other, so a gallery
can be built, replaced and served alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeGuard, runtime_checkable

from PIL.Image import Image
from torch import Tensor

from model.errors import CheckpointError
from model.inputs.pictures import PictureTransform

__all__ = ["DualEncoder", "RegionEncoder", "load_dual_encoder", "reads_regions", "region_encoder"]


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


def load_dual_encoder(path_or_name: str | Path, *, device: str = "cpu") -> DualEncoder:
    """Return the network of a checkpoint, in eval mode on `device`.

    Raises:
        CheckpointError: There is no such checkpoint, or it is damaged.
    """
    # The protocol must be importable without transformers, which takes seconds to load.
    from model.hrem import HREM

    return HREM.from_pretrained(path_or_name, device=device)
