"""What is known of an item, and its picture, by id.

A page that shows hits of the version before a swap still asks for its pictures: ids are looked up
in the current pair first, then in the one before it.
"""

import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.galleries.manifest import GalleryKind
from model.errors import GalleryIndexError, PictureError, TooManyPixelsError
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

__all__ = ["ItemReader"]

JPEG_QUALITY = 90
T = TypeVar("T")


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

    async def picture(self, image_id: str) -> bytes | Path:
        """Return where the picture of an image is to be had: its stored copy, or its file.

        A file lies inside the images' root. A copy is kept of pictures in tar shards: a JPEG.

        Raises:
            MissingGalleryError: This index has no images.
            UnknownItemError: There is no such image.
            NoPictureError: Only its region features were indexed.
            SourceGoneError: Its file is not there any more, or not inside the root.
            QueryError: Too much is waiting, or the deadline has passed.
        """

        def look(pair: ServedPair) -> bytes | Path:
            images = pair.gallery("images")
            item = _known_picture(images, image_id)
            if item.span is not None and (
                copy := images.display_copy_of_content(item.content_hash)
            ):
                return copy
            try:
                path = images.source_path(image_id)
            except GalleryIndexError as error:
                raise SourceGoneError(f"the file of image {image_id!r} is not served") from error
            if not path.is_file():
                raise SourceGoneError(f"the file of image {image_id!r} is not there any more")
            return path

        return await self._in_a_pair(lambda pair: self._read(look, pair))

    async def encoded_picture(self, path: Path) -> bytes:
        """Return a picture file as a JPEG with nothing but its pixels: upright, no EXIF.

        Raises:
            SourceGoneError: The file is not there, or no picture, any more.
            QueryError: Too much is waiting, or the deadline has passed.
        """
        async with self._admission.admitted(1):
            return await self._workers.run(
                self._workers.decoders, _encode_jpeg, path, max_pixels=self._max_pixels
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


def _encode_jpeg(path: Path, *, max_pixels: int) -> bytes:
    try:
        picture = open_picture(path, max_pixels=max_pixels)
    except TooManyPixelsError as error:
        raise SourceGoneError(
            "the file of this image has more pixels than the service's --max-pixels allows"
        ) from error
    except PictureError as error:
        raise SourceGoneError("the file of this image is no readable picture any more") from error
    picture.info.clear()
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return encoded.getvalue()
