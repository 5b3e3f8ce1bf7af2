"""Distinct captions and pictures become unit vectors, batch by batch.

A caption that stands several times, or a picture whose file exists several times, is encoded once:
that saves time, and equal items tie exactly.
"""

import hashlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from PIL.Image import Image

from index_builder.items import Rejection
from index_builder.pipeline import read_ahead
from index_builder.sources import EntryError, ImageEntry, ImageSource
from index_builder.thumbnails import make_thumbnail
from index_builder.vector_index import Rows
from model.console import progress
from model.dual_encoder import DualEncoder
from model.errors import PictureError, TooManyPixelsError, UnreadablePictureError
from model.inputs.pictures import open_picture

__all__ = ["EncodedPicture", "FoundFile", "encode_captions", "encode_pictures", "look_at_files"]

T = TypeVar("T")
R = TypeVar("R")

# Decoded pictures that wait, and those of one batch, hold at most about this many pixels each
# (4 bytes a pixel in Pillow); one more for each thread may be on its way.
_MAX_HELD_PIXELS = 32_000_000
_CAPTION_BATCHES_AT_ONCE = 16
_CHANGED = "was changed while the index was built; build it again"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A picture's file as it was found, before anybody decoded it.

    Attributes:
        entry: What named it.
        content_hash: sha256 of its bytes; empty where it was set aside.
        rejection: Why it was set aside, if it was.
    """

    entry: ImageEntry
    content_hash: str = ""
    rejection: Rejection | None = None


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """What became of one distinct picture, in the order of the files.

    Attributes:
        file: Where it came from.
        vector: (1, dim) unit row; None where it was set aside.
        thumbnail: JPEG; None where it was set aside.
        width: In pixels, upright.
        height: In pixels, upright.
        rejection: Why it was set aside, if it was.
    """

    file: FoundFile
    vector: Rows | None = None
    thumbnail: bytes | None = None
    width: int = 0
    height: int = 0
    rejection: Rejection | None = None


@dataclass(frozen=True, slots=True)
class _Decoded:
    file: FoundFile
    picture: Image | None = None
    thumbnail: bytes | None = None
    rejection: Rejection | None = None

    @property
    def pixel_count(self) -> int:
        return 0 if self.picture is None else self.picture.width * self.picture.height


def encode_captions(
    encoder: DualEncoder, captions: Sequence[str], add: Callable[[Rows], None], *, batch_size: int
) -> None:
    """Pass the vectors of `captions` to `add`, in order, a part at a time."""
    part_size = batch_size * _CAPTION_BATCHES_AT_ONCE
    with progress("encoding captions", len(captions), "captions") as bar:
        for start in range(0, len(captions), part_size):
            part = captions[start : start + part_size]
            add(encoder.encode_captions(part, batch_size=batch_size).numpy())
            bar.advance(len(part))


def look_at_files(source: ImageSource, entries: Sequence[ImageEntry]) -> list[FoundFile]:
    """Return what each entry names: its hash, or why it cannot be used."""

    def look(entry: ImageEntry) -> FoundFile:
        try:
            return FoundFile(entry, hashlib.sha256(source.read(entry)).hexdigest())
        except EntryError as error:
            return FoundFile(entry, rejection=error.rejection)

    with (
        progress("reading pictures", len(entries), "files") as bar,
        closing(_ahead(entries, look, lambda _: 0)) as found,
    ):
        files = []
        for file in found:
            files.append(file)
            bar.advance()
        return files


def encode_pictures(
    encoder: DualEncoder,
    source: ImageSource,
    files: Sequence[FoundFile],
    *,
    batch_size: int,
    max_pixels: int,
) -> Iterator[EncodedPicture]:
    """Yield what became of each file, in order."""

    def decode(file: FoundFile) -> _Decoded:
        try:
            content = source.read(file.entry)
            if hashlib.sha256(content).hexdigest() != file.content_hash:
                return _set_aside(file, "changed", _CHANGED)
            picture = open_picture(content, max_pixels=max_pixels)
            return _Decoded(file, picture, make_thumbnail(picture))
        except EntryError:
            return _set_aside(file, "changed", _CHANGED)
        except TooManyPixelsError as error:
            return _set_aside(file, "too_many_pixels", _reason(error))
        except UnreadablePictureError as error:
            return _set_aside(file, "unreadable", _reason(error))

    with (
        progress("encoding images", len(files), "images") as bar,
        closing(_ahead(files, decode, lambda decoded: decoded.pixel_count)) as decoded,
    ):
        for batch in _batches(decoded, batch_size):
            yield from _encode_batch(encoder, batch, batch_size)
            bar.advance(len(batch))


def _encode_batch(
    encoder: DualEncoder, batch: Sequence[_Decoded], batch_size: int
) -> Iterator[EncodedPicture]:
    pictures = [decoded.picture for decoded in batch if decoded.picture is not None]
    vectors: Iterator[Rows] = iter(())
    if pictures:
        encoded = encoder.encode_images(pictures, batch_size=batch_size).numpy()
        vectors = (encoded[row : row + 1] for row in range(len(pictures)))
    for decoded in batch:
        if decoded.picture is None:
            yield EncodedPicture(decoded.file, rejection=decoded.rejection)
        else:
            width, height = decoded.picture.size
            yield EncodedPicture(decoded.file, next(vectors), decoded.thumbnail, width, height)


def _batches(decoded: Iterator[_Decoded], batch_size: int) -> Iterator[list[_Decoded]]:
    batch: list[_Decoded] = []
    pixel_count = 0
    for one in decoded:
        batch.append(one)
        pixel_count += one.pixel_count
        if len(batch) == batch_size or pixel_count >= _MAX_HELD_PIXELS:
            yield batch
            batch, pixel_count = [], 0
    if batch:
        yield batch


def _ahead(
    tasks: Sequence[T], work: Callable[[T], R], held_by: Callable[[R], int]
) -> Generator[R, None, None]:
    return read_ahead(
        tasks,
        work,
        thread_count=min(16, os.cpu_count() or 1),
        held_by=held_by,
        max_held=_MAX_HELD_PIXELS,
    )


def _set_aside(file: FoundFile, code: str, reason: str) -> _Decoded:
    return _Decoded(file, rejection=Rejection(file.entry.path, code, reason))


def _reason(error: PictureError) -> str:
    return str(error).removeprefix("the uploaded bytes: ")
