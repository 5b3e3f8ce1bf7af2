"""What a build is given: sources, opened and then listed in files beside the galleries."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from index_builder.listing.listed_source import Listing
from index_builder.sources import (
    CaptionSource,
    ImageSource,
    open_caption_source,
    open_image_source,
)
from index_builder.sources.folder_tree import FolderTree
from index_builder.sources.problems import Refusals
from index_builder.sources.region_array import RegionSource
from model.console import say
from model.errors import ConfigError

__all__ = ["Inputs", "Listings"]


class Listings:
    """Both listings; None where a source is left out.

    Attributes:
        folder: Where they lie.
        images: Of pictures or regions.
        captions: Of texts.

    Raises:
        DataError: A source cannot be used; what is wrong with the other is told as well.
    """

    def __init__(self, folder: Path, inputs: "Inputs") -> None:
        self.folder = folder
        self.images: Listing | None = None
        self.captions: Listing | None = None
        refusals = Refusals()
        with refusals.collected():
            self.images = _listed(folder / "images.sqlite", inputs.images)
            say(f"  images      {_told(inputs.images, self.images)}")
        with refusals.collected():
            self.captions = _listed(folder / "captions.sqlite", inputs.captions)
            say(f"  captions    {_told(inputs.captions, self.captions)}")
        if refusals:
            self.close()
        refusals.refuse()

    def close(self) -> None:
        """Close both files."""
        for listing in (self.images, self.captions):
            if listing is not None:
                listing.close()


class Inputs:
    """Open sources.

    Args:
        images: Folder tree, table, tar shards, or a region array.
        captions: `.txt`, table or tar shards.
        images_root: What the pictures' paths are relative to.

    Attributes:
        images: The source of pictures or regions, or None.
        captions: The source of texts, or None.

    Raises:
        ConfigError: Neither is given, or a root of pictures for a region array.
        DataError: A source cannot be used; what is wrong with the other is told as well.
    """

    def __init__(
        self, images: Path | None, captions: Path | None, images_root: Path | None
    ) -> None:
        if images is None and captions is None:
            raise ConfigError(["images, captions: give at least one of them"])
        self.images: ImageSource | RegionSource | None = None
        self.captions: CaptionSource | None = None
        refusals = Refusals()
        with refusals.collected():
            self.images = None if images is None else _open_images(images, images_root)
        with refusals.collected():
            if captions is not None:
                self.captions = open_caption_source(captions, images_root)
        refusals.refuse()

    @property
    def root(self) -> Path | None:
        """What the pictures' paths are relative to; None without pictures."""
        return None if self.images is None else self.images.root

    @property
    def passed_over(self) -> dict[str, int]:
        """What a folder of pictures holds besides, by the ending; known when it is listed."""
        return dict(self.images.passed_over) if isinstance(self.images, FolderTree) else {}

    @contextmanager
    def listed(self, galleries: Path) -> Iterator[Listings]:
        """List both sources, in a folder that lasts as long as the context.

        Raises:
            DataError: A source cannot be used, or names nothing.
        """
        folder = Path(tempfile.mkdtemp(prefix=".listing-", dir=galleries))
        try:
            listings = Listings(folder, self)
            try:
                yield listings
            finally:
                listings.close()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _open_images(source: Path, images_root: Path | None) -> ImageSource | RegionSource:
    if source.suffix != ".npy":
        return open_image_source(source, images_root)
    if images_root is not None:
        raise ConfigError(["images_root: a region array has no pictures; leave it out"])
    return RegionSource(source)


def _listed(
    path: Path, source: ImageSource | RegionSource | CaptionSource | None
) -> Listing | None:
    return None if source is None else Listing.write(path, source.entries(), source.description)


def _told(
    source: ImageSource | RegionSource | CaptionSource | None, listing: Listing | None
) -> str:
    if source is None or listing is None:
        return "left out"
    return f"{listing.count:,} from {source.description}"
