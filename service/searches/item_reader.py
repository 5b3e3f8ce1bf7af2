"""What is known of an item, and its picture, by id.

A page that shows hits of the version before a swap still asks for its pictures: ids are looked up
in the current pair first, then in the one before it.
"""

import io
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.galleries.manifest import GalleryKind
from index_builder.listing.source_bytes import read_source
from index_builder.sources.entries import EntryError
from model.errors import PictureError, TooManyPixelsError
from model.inputs.pictures import open_picture
from service.errors import (
    MissingGalleryError,
    NoPictureError,
    SourceGoneError,
    UnknownItemError,
)
from service.pairs.pair import ServedPair
from service.pairs.serving import Serving
from service.pairs.workers import Workers
from service.searches.found_hits import pictures_of
from service.traffic.admission import Admission

__all__ = ["IndexedPicture", "ItemReader"]

JPEG_QUALITY = 90
T = TypeVar("T")
_GONE = {
    "missing": "is not there any more",
    "changed": "was replaced since it was indexed; index it anew with: python -m index_builder add",
    "outside_root": "is not served",
}


@dataclass(frozen=True)
class IndexedPicture:
    """Where the picture of an image is to be had.

    Attributes:
        item: The image.
        images_root: What its path is relative to.
        display_copy: The JPEG that the index keeps of a picture in a tar shard.
    """

    item: Item
    images_root: Path | None
    display_copy: bytes | None


class ItemReader:
    """Looks up items and reads their pictures.

    Args:
        serving: Which pairs are open.
        admission: How much may be under way; a look-up counts as one item.
        workers: Threads for pictures and items.
        max_pixels: The largest picture that is decoded.
    """

    def __init__(
        self, serving: Serving, admission: Admission, workers: Workers, *, max_pixels: int
    ) -> None:
        self._serving = serving
        self._admission = admission
        self._workers = workers
        self._max_pixels = max_pixels

    async def find_item(self, kind: GalleryKind, item_id: str) -> tuple[Item, Item | None]:
        """Return an item, and the picture that it is or, being a caption, names.

        Raises:
            MissingGalleryError: This index has no such gallery.
            UnknownItemError: The gallery has no such item.
            QueryError: Too much is waiting, or the deadline has passed.
        """

        def look(pair: ServedPair) -> tuple[Item, Item | None]:
            item = _known_item(pair.gallery(kind), item_id)
            if kind == "images":
                return item, item
            return item, pictures_of([item], pair).get(item.id)

        return await self._in_a_pair(lambda pair: self._read(look, pair))

    async def thumbnail(self, image_id: str) -> bytes:
        """Return the JPEG thumbnail of an indexed image.

        Raises:
            MissingGalleryError: This index has no images.
            UnknownItemError: There is no such image.
            NoPictureError: Only its region features were indexed.
            QueryError: Too much is waiting, or the deadline has passed.
        """

        def look(pair: ServedPair) -> bytes:
            images = pair.gallery("images")
            if (thumbnail := images.thumbnail(image_id)) is None:
                _known_picture(images, image_id)
                raise _unknown("images", image_id)
            return thumbnail

        return await self._in_a_pair(lambda pair: self._read(look, pair))

    async def picture(self, image_id: str) -> IndexedPicture:
        """Return what the picture of an image is to be made of.

        Raises:
            MissingGalleryError: This index has no images.
            UnknownItemError: There is no such image.
            NoPictureError: Only its region features were indexed.
            QueryError: Too much is waiting, or the deadline has passed.
        """

        def look(pair: ServedPair) -> IndexedPicture:
            images = pair.gallery("images")
            item = _known_picture(images, image_id)
            copy = None
            if item.span is not None:
                copy = images.display_copy_of_content(item.content_hash)
            return IndexedPicture(item, images.images_root, copy)

        return await self._in_a_pair(lambda pair: self._read(look, pair))

    async def jpeg_of(self, picture: IndexedPicture) -> bytes:
        """Return a picture as a JPEG with nothing but its pixels: upright, no EXIF.

        Raises:
            SourceGoneError: What was indexed is not there any more, or another picture is.
            QueryError: Too much is waiting, or the deadline has passed.
        """
        if picture.display_copy is not None:
            return picture.display_copy
        async with self._admission.admitted(1):
            return await self._workers.run(
                self._workers.decoders, _encode_jpeg, picture, max_pixels=self._max_pixels
            )

    async def _in_a_pair(self, look: Callable[[ServedPair], Awaitable[T]]) -> T:
        """Return what the first pair that knows the item says."""
        async with self._admission.admitted(1):
            unknown: list[UnknownItemError | MissingGalleryError] = []
            for pair in self._serving.pairs():
                with pair.leased():
                    try:
                        return await look(pair)
                    except (UnknownItemError, MissingGalleryError) as error:
                        unknown.append(error)
            raise unknown[0]

    async def _read(self, look: Callable[[ServedPair], T], pair: ServedPair) -> T:
        return await self._workers.run(self._workers.readers, look, pair)


def _known_item(gallery: Gallery, item_id: str) -> Item:
    item = gallery.item(item_id)
    if item is None:
        raise _unknown(gallery.kind, item_id)
    return item


def _known_picture(images: Gallery, image_id: str) -> Item:
    item = _known_item(images, image_id)
    if item.path is None:
        raise NoPictureError(
            f"image {image_id!r} was indexed by its region features; there is no picture of it"
        )
    return item


def _unknown(kind: GalleryKind, item_id: str) -> UnknownItemError:
    return UnknownItemError(f"no item {item_id[:200]!r} among the {kind} of this index")


def _encode_jpeg(found: IndexedPicture, *, max_pixels: int) -> bytes:
    file = f"the file of image {found.item.id!r}"
    try:
        content = read_source(found.item, found.images_root)
    except EntryError as error:
        told = _GONE.get(error.rejection.code, "cannot be read any more")
        raise SourceGoneError(f"{file} {told}") from error
    try:
        picture = open_picture(content, max_pixels=max_pixels)
    except TooManyPixelsError as error:
        raise SourceGoneError(
            f"{file} has more pixels than the service's --max-pixels allows"
        ) from error
    except PictureError as error:
        raise SourceGoneError(f"{file} cannot be decoded here") from error
    picture.info.clear()
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return encoded.getvalue()
