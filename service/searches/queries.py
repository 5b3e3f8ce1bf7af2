"""What can be searched with: captions, pictures, region features, an indexed image.

Each becomes embeddings in the space of a pair; from there on all are alike.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index_builder.galleries.manifest import GalleryKind
from model.errors import GalleryIndexError, PictureError
from model.inputs.pictures import open_picture
from service.errors import BadPicture, BadPicturesError, UnknownItemError
from service.pairs.encoding import EncoderOwner, Pixels
from service.pairs.pair import ServedPair
from service.pairs.workers import Workers
from service.traffic.admission import Stopwatch

__all__ = [
    "CaptionQueries",
    "Embedded",
    "IndexedImageQuery",
    "PictureQueries",
    "Queries",
    "RegionsQuery",
    "Upload",
]


@dataclass(frozen=True)
class Embedded:
    """Queries in the space of a pair.

    Attributes:
        embeddings: (dim,) each, float32, unit length, in the order of the queries.
        warnings: Codes of what each query should know, such as `caption_truncated`.
    """

    embeddings: Sequence[npt.NDArray[np.float32]]
    warnings: Sequence[list[str]]


@dataclass(frozen=True)
class Upload:
    """The bytes of a picture, and where in the request they stood."""

    where: str
    content: bytes


class Queries(ABC):
    """The queries of one request."""

    @property
    @abstractmethod
    def count(self) -> int:
        """How many items are encoded or looked up for them."""

    @property
    def words(self) -> Sequence[str | None]:
        """The sentence of each query, for hybrid search; None where it has no words."""
        return [None] * self.count

    @property
    def kind(self) -> GalleryKind | None:
        """What they are, or None for what is of no one kind."""
        return None

    @abstractmethod
    async def embed(self, pair: ServedPair, workers: Workers, stopwatch: Stopwatch) -> Embedded:
        """Return them in the space of a pair.

        Raises:
            QueryError: A kind of it says why not.
        """


@dataclass(frozen=True)
class CaptionQueries(Queries):
    """Sentences."""

    captions: Sequence[str]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.captions)

    @property
    def words(self) -> Sequence[str | None]:
        """The sentences themselves."""
        return self.captions

    @property
    def kind(self) -> GalleryKind:
        """Captions."""
        return "captions"

    async def embed(self, pair: ServedPair, workers: Workers, stopwatch: Stopwatch) -> Embedded:  # noqa: ARG002
        """Return them encoded, with a warning where one was cut."""
        encoded = await pair.encoder.captions(self.captions, stopwatch)
        return Embedded(
            [one.embedding for one in encoded],
            [["caption_truncated"] if one.is_truncated else [] for one in encoded],
        )


@dataclass(frozen=True)
class PictureQueries(Queries):
    """Uploaded pictures; one bad one refuses them all, and every bad one is named.

    Attributes:
        uploads: Bytes, not yet looked at.
        max_pixels: The largest picture that is decoded.
    """

    uploads: Sequence[Upload]
    max_pixels: int

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.uploads)

    @property
    def kind(self) -> GalleryKind:
        """Images."""
        return "images"

    async def embed(self, pair: ServedPair, workers: Workers, stopwatch: Stopwatch) -> Embedded:
        """Return them encoded.

        Raises:
            BadPicturesError: An upload is no picture or too large.
            UnsupportedInputError: The encoder reads region features.
        """
        # A decoder makes the small array that the encoder reads before it takes the next picture:
        # large ones are in memory only as many at a time as there are decoders.
        read = await asyncio.gather(
            *(
                workers.run_stage(
                    workers.decoders, "decode", stopwatch, self._read, upload, pair.encoder
                )
                for upload in self.uploads
            )
        )
        if bad := [one for one in read if isinstance(one, BadPicture)]:
            raise BadPicturesError(bad)
        pixels = [one for one in read if not isinstance(one, BadPicture)]
        embeddings = await pair.encoder.pictures(pixels, stopwatch)
        return Embedded(embeddings, [[] for _ in embeddings])

    def _read(self, upload: Upload, encoder: EncoderOwner) -> Pixels | BadPicture:
        try:
            picture = open_picture(upload.content, max_pixels=self.max_pixels)
        except PictureError as error:
            return BadPicture.of(upload.where, error)
        return encoder.pixels_of(picture)


@dataclass(frozen=True, eq=False)
class RegionsQuery(Queries):
    """The region features (region, region_dim) of one image."""

    features: npt.NDArray[np.float32]

    @property
    def count(self) -> int:
        """One."""
        return 1

    @property
    def kind(self) -> GalleryKind:
        """Images."""
        return "images"

    async def embed(self, pair: ServedPair, workers: Workers, stopwatch: Stopwatch) -> Embedded:  # noqa: ARG002
        """Return them encoded."""
        return Embedded([await pair.encoder.regions(self.features, stopwatch)], [[]])


@dataclass(frozen=True)
class IndexedImageQuery(Queries):
    """An image of the index, by its stored vector."""

    image_id: str

    @property
    def count(self) -> int:
        """One."""
        return 1

    @property
    def kind(self) -> GalleryKind:
        """Images."""
        return "images"

    async def embed(self, pair: ServedPair, workers: Workers, stopwatch: Stopwatch) -> Embedded:
        """Return its stored vector.

        Raises:
            MissingGalleryError: This index has no images.
            UnknownItemError: There is no such image.
        """
        images = pair.gallery("images")
        try:
            vectors = await workers.run_stage(
                workers.readers, "fetch", stopwatch, images.vectors, [self.image_id]
            )
        except GalleryIndexError as error:
            raise UnknownItemError(
                f"no item {self.image_id[:200]!r} among the images of this index"
            ) from error
        return Embedded(list(vectors), [[]])
