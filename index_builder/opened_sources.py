"""Sources as the builder consumes them: a stream of entries, and the bytes of one of them.

A picture's bytes are read in worker processes, so an image source pickles.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from index_builder.items import Rejection
from index_builder.sources import (
    CaptionEntry,
    ImageEntry,
    read_captions,
    read_images,
)
from model.errors import DataError

__all__ = ["CaptionSource", "ImageSource", "open_caption_source", "open_image_source"]


class ImageSource(Protocol):
    """Where pictures come from."""

    @property
    def root(self) -> Path | None:
        """What the paths are relative to, absolute; None where there are no files of pictures."""

    @property
    def description(self) -> str:
        """For messages."""

    def entries(self) -> Iterator[ImageEntry | Rejection]:
        """Yield what the source names, in row order."""

    def read(self, entry: ImageEntry) -> bytes:
        """Return the bytes of a picture; usable in any process."""


class CaptionSource(Protocol):
    """Where captions come from."""

    @property
    def description(self) -> str:
        """For messages."""

    def entries(self) -> Iterator[CaptionEntry | Rejection]:
        """Yield what the source names, in row order."""


@dataclass(frozen=True)
class _Pictures:
    source: Path
    root: Path

    @property
    def description(self) -> str:
        return str(self.source)

    def entries(self) -> Iterator[ImageEntry | Rejection]:
        yield from read_images(self.source, self.root).entries

    def read(self, entry: ImageEntry) -> bytes:
        return (self.root / entry.path).read_bytes()


@dataclass(frozen=True)
class _Captions:
    source: Path

    @property
    def description(self) -> str:
        return str(self.source)

    def entries(self) -> Iterator[CaptionEntry | Rejection]:
        captions = read_captions(self.source)
        yield from captions.entries
        yield from captions.rejected


def open_image_source(path: Path, images_root: Path | None = None) -> ImageSource:
    """Return the pictures of a folder tree or of a `.jsonl` file.

    Raises:
        DataError: There is nothing at `path`.
    """
    _check_exists(path, "a folder of pictures, a .jsonl file with `path` or {split}_ims.npy")
    root = images_root or (path if path.is_dir() else path.parent)
    return _Pictures(path, root.resolve())


def open_caption_source(path: Path) -> CaptionSource:
    """Return the captions of a `.txt` or `.jsonl` file.

    Raises:
        DataError: There is nothing at `path`.
    """
    _check_exists(path, "a .txt or .jsonl file")
    return _Captions(path)


def _check_exists(path: Path, expected: str) -> None:
    if not path.exists():
        raise DataError(f"{path} does not exist; give {expected}")
