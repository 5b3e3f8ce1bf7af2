"""What is encoded: captions, pictures, regions; each is read in row order and encoded in batches.

The three differ in how an entry is read and what the encoder takes; whatever makes parts of them
sees one protocol.
"""

import hashlib
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

from index_builder.encoding.known_contents import KnownContents
from index_builder.encoding.reading import PictureReader, Reading
from index_builder.encoding.workers import read_pictures
from index_builder.listing.listed_source import ListedEntry
from index_builder.sources import ImageEntry, ImageSource
from index_builder.sources.stamps import NO_STAMP, Stamp
from index_builder.vector_index import Rows
from model.console import warn
from model.dual_encoder import DualEncoder
from model.errors import CheckpointError

__all__ = ["CaptionEncoding", "Encoding", "PictureEncoding"]


class Encoding(Protocol):
    """How entries of one kind become vectors."""

    @property
    def batch_size(self) -> int | None:
        """How many contents `encode` takes at most; None = any number, it cuts them itself."""

    def readings(self, entries: Iterable[ListedEntry]) -> Generator[Reading, None, None]:
        """Yield what became of each entry, in order, perhaps read ahead."""

    def encode(self, payloads: Sequence[Any]) -> Rows:
        """Return (content, dim), the unit vectors of payloads of readings."""

    def stamp(self, entry: ListedEntry) -> Stamp:
        """Return the present stamp of what an entry is read from."""


class CaptionEncoding:
    """Captions; everything about them stands in the listing."""

    batch_size = None

    def __init__(
        self, encoder: DualEncoder, *, batch_size: int, known: KnownContents | None
    ) -> None:
        """Encode with `encoder` what is not `known`."""
        self._encoder = encoder
        self._size = batch_size
        self._known = known
        self._cut_count = 0

    def readings(self, entries: Iterable[ListedEntry]) -> Generator[Reading, None, None]:
        """Yield the texts; when all are encoded, tell how many were cut."""
        try:
            for entry in entries:
                text = entry.caption or ""
                digest = hashlib.sha256(text.encode()).digest()
                is_known = self._known is not None and digest.hex() in self._known
                yield Reading(digest, is_known=is_known, payload=text)
        finally:
            if self._cut_count:
                warn(
                    f"{self._cut_count:,} captions are longer than the network reads; their ends "
                    "are cut"
                )

    def encode(self, payloads: Sequence[Any]) -> Rows:
        """Return the vectors of texts; those of like length share a batch."""
        self._cut_count += sum(self._encoder.truncated_captions(payloads))
        vectors: Rows = self._encoder.encode_captions(payloads, batch_size=self._size).numpy()
        return vectors

    def stamp(self, entry: ListedEntry) -> Stamp:  # noqa: ARG002 - the protocol's
        """Return the same for every entry: a changed text makes another listing."""
        return NO_STAMP


class PictureEncoding:
    """Pictures, read and decoded by processes of their own.

    Args:
        encoder: A network that reads pictures.
        source: Where the pictures lie.
        folder: For what the processes share.
        batch_size: How many go through the encoder at once.
        max_pixels: Larger pictures are set aside.
        worker_count: Processes that read; 0 = this one.
        known: Contents that need no decoding.

    Raises:
        CheckpointError: The encoder reads region features.
    """

    def __init__(
        self,
        encoder: DualEncoder,
        source: ImageSource,
        *,
        folder: Path,
        batch_size: int,
        max_pixels: int,
        worker_count: int,
        known: KnownContents | None,
    ) -> None:
        transform = encoder.picture_transform
        if transform is None:
            raise CheckpointError(
                f"this checkpoint ({encoder.name}) was trained on region features and cannot read "
                "pictures; give a region array, or a checkpoint trained on pictures"
            )
        self.batch_size = batch_size
        self._encoder = encoder
        self._reader = PictureReader(source, transform, max_pixels=max_pixels, known=known)
        self._pixel_shape = tuple(transform(Image.new("RGB", (8, 8))).shape)
        self._worker_count = worker_count
        self._slots = folder / ".pixels"

    def readings(self, entries: Iterable[ListedEntry]) -> Generator[Reading, None, None]:
        """Yield what became of each picture, read ahead."""
        return read_pictures(
            self._reader,
            map(_named, entries),
            worker_count=self._worker_count,
            pixel_shape=self._pixel_shape,
            slots=self._slots,
            ahead_count=self.batch_size,
        )

    def encode(self, payloads: Sequence[Any]) -> Rows:
        """Return the vectors of pixels."""
        pixels = torch.stack([torch.from_numpy(payload) for payload in payloads])
        vectors: Rows = self._encoder.encode_pixels(pixels, batch_size=len(pixels)).numpy()
        return vectors

    def stamp(self, entry: ListedEntry) -> Stamp:
        """Return the stamp of the file that a picture is read from."""
        return self._reader.stamp(_named(entry))


def _named(entry: ListedEntry) -> ImageEntry:
    """Return what is needed to read a picture; metadata would only travel along."""
    return ImageEntry(entry.id, entry.path or "", span=entry.span)
