"""A source read to its end: everything it named, in memory, and no id twice."""

from dataclasses import dataclass
from pathlib import Path

from index_builder.items import Rejection
from index_builder.sources.duplicates import refuse_duplicates
from index_builder.sources.entries import CaptionEntry, ImageEntry, ImageSource
from index_builder.sources.opening import open_caption_source, open_image_source

__all__ = ["CaptionList", "ImageList", "list_captions", "list_images"]


@dataclass(frozen=True)
class ImageList:
    """What a source of pictures named: `entries` in row order, ids unique, at least one."""

    source: ImageSource
    entries: list[ImageEntry]
    rejected: list[Rejection]

    @property
    def root(self) -> Path | None:
        """What the paths are relative to."""
        return self.source.root


@dataclass(frozen=True)
class CaptionList:
    """What a source of captions named: `entries` in row order, ids unique, at least one."""

    entries: list[CaptionEntry]
    rejected: list[Rejection]


def list_images(source: Path, images_root: Path | None = None) -> ImageList:
    """Return the pictures that `source` names.

    Raises:
        DataError: The source cannot be used; every problem is told.
    """
    opened = open_image_source(source, images_root)
    listing = ImageList(opened, [], [])
    for found in opened.entries():
        if isinstance(found, Rejection):
            listing.rejected.append(found)
        else:
            listing.entries.append(found)
    refuse_duplicates(opened.description, (entry.id for entry in listing.entries))
    return listing


def list_captions(source: Path, images_root: Path | None = None) -> CaptionList:
    """Return the captions of `source`.

    Raises:
        DataError: The source cannot be used; every problem is told.
    """
    opened = open_caption_source(source, images_root)
    listing = CaptionList([], [])
    for found in opened.entries():
        if isinstance(found, Rejection):
            listing.rejected.append(found)
        else:
            listing.entries.append(found)
    refuse_duplicates(opened.description, (entry.id for entry in listing.entries))
    return listing
