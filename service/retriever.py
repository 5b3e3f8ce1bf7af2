"""Query -> embedding -> hits: the one owner of the encoder and of the open index.

All heavy work goes through `workers`, never on the event loop. Decoded pictures are large, so
they are decoded in small groups, and few groups at a time; what waits is bytes.
"""

import asyncio
import io
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL.Image import Image

from index_builder.gallery import MAX_HIT_COUNT, Gallery, Hit
from index_builder.items import Item
from index_builder.manifest import GalleryKind
from index_builder.versions import OpenIndex
from model.dual_encoder import DualEncoder, region_encoder
from model.errors import CheckpointError, GalleryIndexError, PictureError, TooManyPixelsError
from model.inputs.pictures import open_picture
from service.errors import (
    BadPicture,
    BadPicturesError,
    MissingGalleryError,
    NoPictureError,
    SourceGoneError,
    StaleVersionError,
    UnknownItemError,
    UnsupportedInputError,
)
from service.workers import Stopwatch, Workers

__all__ = ["FoundHit", "FoundPage", "Page", "Retrieval", "Retriever", "ServedIndex", "Upload"]

# 8 pictures of 25 megapixels are 600 MB.
PICTURES_IN_A_GROUP = 8
DECODED_GROUPS = 2
# No encoder reads so far; a tokenizer would need seconds for the megabytes that a body may hold.
MAX_CAPTION_CHARACTERS = 100_000
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Page:
    """Which part of which ranking is asked for."""

    target: GalleryKind
    limit: int = 10
    offset: int = 0
    version: int | None = None

    def next_offset(self, item_count: int) -> int | None:
        """Return where the next page begins; None if there is none, or it would reach too deep."""
        following = self.offset + self.limit
        return following if following < min(item_count, MAX_HIT_COUNT - self.limit + 1) else None


@dataclass(frozen=True)
class Upload:
    """The bytes of a picture, and where in the request they stood."""

    where: str
    content: bytes


@dataclass(frozen=True)
class FoundHit:
    """A hit with its item, and the picture that it is or, being a caption, names."""

    hit: Hit
    item: Item
    picture: Item | None


@dataclass(frozen=True)
class FoundPage:
    """What one query found, best first."""

    hits: list[FoundHit]
    next_offset: int | None
    warnings: list[str]


@dataclass(frozen=True)
class Retrieval:
    """What the queries of one request found, in their order, and where the time went."""

    pages: list[FoundPage]
    timing_ms: dict[str, float]


@dataclass(frozen=True)
class ServedIndex:
    """What answers the queries."""

    version: int
    fingerprint: str
    dim: int
    encoder: str


class Retriever:
    """Answers queries from one open index with the encoder that made it."""

    def __init__(
        self, index: OpenIndex, encoder: DualEncoder, workers: Workers, *, max_pixels: int
    ) -> None:
        """Take over all three, and answer a first query so that no user waits for it."""
        self.served = ServedIndex(index.version, encoder.fingerprint, encoder.dim, encoder.name)
        self.galleries: dict[GalleryKind, Gallery | None] = {
            "images": index.images,
            "captions": index.captions,
        }
        self.workers = workers
        self._index = index
        self._encoder = encoder
        self._max_pixels = max_pixels
        self._decoded_groups = asyncio.Semaphore(DECODED_GROUPS)
        self._answer_first_query()

    def close(self) -> None:
        """Finish what is running, drop what waits, and let go of the index."""
        self.workers.close()
        self._index.close()

    async def why_not_ready(self) -> str | None:
        """Return why a query would not be answered now, or None if it would be."""
        workers = self.workers
        if workers.is_closed:
            return "the service is stopping"
        if workers.waiting_items >= workers.max_waiting_items:
            return f"{workers.waiting_items} items are waiting; the queue is full"
        if workers.is_in_doubt:
            # Only a query can tell whether what went wrong still does.
            try:
                async with asyncio.timeout(workers.timeout_s):
                    await asyncio.to_thread(self._answer_first_query)
            except Exception as error:
                return f"queries fail ({type(error).__name__}); the log tells more"
            workers.is_in_doubt = False
        return None

    async def search_captions(self, captions: Sequence[str], page: Page) -> Retrieval:
        """Return what each caption finds.

        Raises:
            QueryError: A kind of it says why not.
        """
        gallery = self._asked_gallery(page)
        async with self.workers.admitted(len(captions)) as stopwatch:
            embeddings, warnings = await self.workers.run_stage(
                self.workers.encoder, "encode", stopwatch, self._encode_captions, captions
            )
            return await self._find(embeddings, gallery, page, stopwatch, warnings)

    async def search_pictures(self, uploads: Sequence[Upload], page: Page) -> Retrieval:
        """Return what each uploaded picture finds.

        Raises:
            BadPicturesError: An upload is no picture or too large; nothing is answered.
            QueryError: A kind of it says why not.
        """
        gallery = self._asked_gallery(page)
        async with self.workers.admitted(len(uploads)) as stopwatch:
            groups = []
            for start in range(0, len(uploads), PICTURES_IN_A_GROUP):
                group = uploads[start : start + PICTURES_IN_A_GROUP]
                groups.append(await self._embed_group(group, stopwatch))
            warnings: list[list[str]] = [[] for _ in uploads]
            return await self._find(np.concatenate(groups), gallery, page, stopwatch, warnings)

    def region_dim_of_queries(self) -> int:
        """Return the width of the region features that the encoder reads.

        Raises:
            UnsupportedInputError: It reads pictures.
        """
        try:
            region_dim = region_encoder(self._encoder).region_dim
        except CheckpointError as error:
            raise UnsupportedInputError(str(error)) from error
        assert region_dim is not None  # region_encoder has looked
        return region_dim

    async def search_regions(self, regions: np.ndarray, page: Page) -> Retrieval:
        """Return what one image finds by its region features (region, region_dim).

        Raises:
            QueryError: A kind of it says why not.
        """
        gallery = self._asked_gallery(page)
        async with self.workers.admitted(1) as stopwatch:
            embeddings = await self.workers.run_stage(
                self.workers.encoder, "encode", stopwatch, self._encode_regions, regions
            )
            return await self._find(embeddings, gallery, page, stopwatch, [[]])

    async def search_like(self, image_id: str, page: Page) -> Retrieval:
        """Return what an indexed image finds, by its stored embedding.

        Raises:
            UnknownItemError: The index has no image of that id.
            QueryError: A kind of it says why not.
        """
        gallery = self._asked_gallery(page)
        images = self._gallery("images")
        async with self.workers.admitted(1) as stopwatch:
            await self._known_item("images", image_id)
            embeddings = await self.workers.run_stage(
                self.workers.galleries, "fetch", stopwatch, images.vectors, [image_id]
            )
            return await self._find(embeddings, gallery, page, stopwatch, [[]])

    async def find_item(self, kind: GalleryKind, item_id: str) -> tuple[Item, Item | None]:
        """Return an item, and the picture that it is or, being a caption, names.

        Raises:
            MissingGalleryError: This index has no such gallery.
            UnknownItemError: The gallery has no such item.
            QueryError: Too much is waiting, or the deadline has passed.
        """
        async with self.workers.admitted(1):
            item = await self._known_item(kind, item_id)
            if kind == "images":
                return item, item
            pictures = await self.workers.run(self.workers.galleries, self._pictures_of, [item])
            return item, pictures.get(item.image_id or "")

    async def thumbnail(self, image_id: str) -> bytes:
        """Return the JPEG thumbnail of an indexed image.

        Raises:
            MissingGalleryError: This index has no images.
            UnknownItemError: There is no such image.
            NoPictureError: Only its region features were indexed.
            QueryError: Too much is waiting, or the deadline has passed.
        """
        images = self._gallery("images")
        async with self.workers.admitted(1):
            thumbnail = await self.workers.run(self.workers.galleries, images.thumbnail, image_id)
            if thumbnail is None:
                await self._known_picture(image_id)
                raise _unknown("images", image_id)
        return thumbnail

    async def display_copy(self, image_id: str) -> bytes | None:
        """Return the JPEG for display of an indexed image; None if none is stored.

        Raises:
            MissingGalleryError: This index has no images.
            QueryError: Too much is waiting, or the deadline has passed.
        """
        images = self._gallery("images")
        async with self.workers.admitted(1):
            return await self.workers.run(self.workers.galleries, images.display_copy, image_id)

    async def source_of(self, image_id: str) -> Path:
        """Return the file of an indexed image, inside the images' root.

        Raises:
            MissingGalleryError: This index has no images.
            UnknownItemError: There is no such image.
            NoPictureError: Only its region features were indexed.
            SourceGoneError: Its file is not there any more, or not inside the root.
            QueryError: Too much is waiting, or the deadline has passed.
        """
        images = self._gallery("images")
        async with self.workers.admitted(1):
            await self._known_picture(image_id)
            try:
                path = await self.workers.run(self.workers.galleries, images.source_path, image_id)
            except GalleryIndexError as error:
                raise SourceGoneError(f"the file of image {image_id!r} is not served") from error
        if not path.is_file():
            raise SourceGoneError(f"the file of image {image_id!r} is not there any more")
        return path

    async def encoded_picture(self, path: Path) -> bytes:
        """Return a picture file as a JPEG with nothing but its pixels: upright, no EXIF.

        Raises:
            SourceGoneError: The file is not there, or no picture, any more.
            QueryError: Too much is waiting, or the deadline has passed.
        """
        async with self.workers.admitted(1):
            return await self.workers.run(
                self.workers.decoders, _encode_jpeg, path, max_pixels=self._max_pixels
            )

    # What runs on the event loop.

    def _gallery(self, kind: GalleryKind) -> Gallery:
        gallery = self.galleries[kind]
        if gallery is None:
            raise MissingGalleryError(
                f"this index has no {kind}; build it again with --{kind}, or change the target"
            )
        return gallery

    def _asked_gallery(self, page: Page) -> Gallery:
        if page.version not in (None, self.served.version):
            raise StaleVersionError(
                f"version {page.version} is not served, version {self.served.version} is; "
                f"begin again at offset 0"
            )
        return self._gallery(page.target)

    async def _known_item(self, kind: GalleryKind, item_id: str) -> Item:
        gallery = self._gallery(kind)
        item = await self.workers.run(self.workers.galleries, gallery.item, item_id)
        if item is None:
            raise _unknown(kind, item_id)
        return item

    async def _known_picture(self, image_id: str) -> Item:
        item = await self._known_item("images", image_id)
        if item.path is None:
            raise NoPictureError(
                f"image {image_id!r} was indexed by its region features; there is no picture of it"
            )
        return item

    async def _embed_group(self, group: Sequence[Upload], stopwatch: Stopwatch) -> np.ndarray:
        asked = time.perf_counter()
        async with self._decoded_groups:
            stopwatch.add("queue", time.perf_counter() - asked)
            pictures = await self.workers.run_stage(
                self.workers.decoders, "decode", stopwatch, self._decode, group
            )
            return await self.workers.run_stage(
                self.workers.encoder, "encode", stopwatch, self._encode_pictures, pictures
            )

    async def _find(
        self,
        embeddings: np.ndarray,
        gallery: Gallery,
        page: Page,
        stopwatch: Stopwatch,
        warnings: list[list[str]],
    ) -> Retrieval:
        thread = self.workers.galleries
        hits = await self.workers.run_stage(
            thread, "search", stopwatch, gallery.search, embeddings, page.limit, page.offset
        )
        found = await self.workers.run_stage(
            thread, "fetch", stopwatch, self._fetch, hits, page.target
        )
        next_offset = page.next_offset(gallery.count)
        pages = [
            FoundPage(hits=hits_of_query, next_offset=next_offset, warnings=warned)
            for hits_of_query, warned in zip(found, warnings, strict=True)
        ]
        return Retrieval(pages=pages, timing_ms=stopwatch.timing_ms())

    # What runs on the workers.

    def _encode_captions(self, captions: Sequence[str]) -> tuple[np.ndarray, list[list[str]]]:
        cut = [caption[:MAX_CAPTION_CHARACTERS] for caption in captions]
        is_truncated = self._encoder.truncated_captions(cut)
        warnings = [
            ["caption_truncated"] if truncated or len(short) < len(caption) else []
            for truncated, short, caption in zip(is_truncated, cut, captions, strict=True)
        ]
        return self._encoder.encode_captions(cut).numpy(), warnings

    def _encode_pictures(self, pictures: Sequence[Image]) -> np.ndarray:
        try:
            return self._encoder.encode_images(pictures).numpy()
        except CheckpointError as error:
            # The same checkpoint has just served captions; it is one of region features.
            raise UnsupportedInputError(str(error)) from error

    def _encode_regions(self, regions: np.ndarray) -> np.ndarray:
        return region_encoder(self._encoder).encode_regions(regions[None]).numpy()

    def _decode(self, uploads: Sequence[Upload]) -> list[Image]:
        pictures, bad = [], []
        for upload in uploads:
            try:
                pictures.append(open_picture(upload.content, max_pixels=self._max_pixels))
            except PictureError as error:
                bad.append(BadPicture(upload.where, error))
        if bad:
            raise BadPicturesError(bad)
        return pictures

    def _fetch(self, hits: list[list[Hit]], kind: GalleryKind) -> list[list[FoundHit]]:
        ids = {hit.item_id for hits_of_query in hits for hit in hits_of_query}
        items = self._gallery(kind).items(list(ids))
        if kind == "images":
            picture_of = items
        else:
            pictures = self._pictures_of(items.values())
            picture_of = {
                item.id: pictures[item.image_id]
                for item in items.values()
                if item.image_id in pictures
            }
        return [
            [FoundHit(hit, items[hit.item_id], picture_of.get(hit.item_id)) for hit in of_query]
            for of_query in hits
        ]

    def _pictures_of(self, captions: Iterable[Item]) -> dict[str, Item]:
        """Return the pictures of this index that captions name, by id."""
        images = self.galleries["images"]
        image_ids = {caption.image_id for caption in captions if caption.image_id is not None}
        return images.items(list(image_ids)) if images is not None else {}

    def _answer_first_query(self) -> None:
        workers = self.workers
        encoded = workers.encoder.submit(self._encode_captions, ["a first query"])
        embeddings, _ = encoded.result()
        for gallery in self.galleries.values():
            if gallery is not None:
                workers.galleries.submit(gallery.search, embeddings, 1).result()


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
