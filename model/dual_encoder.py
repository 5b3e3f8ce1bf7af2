"""What the index builder and the service see of a network: two independent encoders.

HREM is one `DualEncoder`. Both galleries are encoded without looking at each other, so a gallery
can be built, replaced and served alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from PIL.Image import Image
from torch import Tensor

__all__ = ["DualEncoder", "load_dual_encoder"]


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

    def encode_images(self, pictures: Sequence[Image], *, batch_size: int = 64) -> Tensor:
        """Return (image, dim): float32 on the CPU, unit rows, in the order given, no gradient."""

    def encode_captions(self, captions: Sequence[str], *, batch_size: int = 64) -> Tensor:
        """Return (caption, dim): float32 on the CPU, unit rows, in the order given, no gradient."""

    def truncated_captions(self, captions: Sequence[str]) -> list[bool]:
        """Return for each caption whether it is longer than the network reads."""


def load_dual_encoder(path_or_name: str | Path, *, device: str = "cpu") -> DualEncoder:
    """Return the network of a checkpoint, in eval mode on `device`.

    Raises:
        CheckpointError: There is no such checkpoint, or it is damaged.
    """
    # The protocol must be importable without transformers, which takes seconds to load.
    from model.hrem import HREM

    return HREM.from_pretrained(path_or_name, device=device)
