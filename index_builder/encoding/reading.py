"""A picture's file becomes what the encoder and the gallery need of it, in any process.

The bytes are read once: what is hashed is what is decoded. They are not read at all where an
earlier gallery has the same path with the same stamp. What cannot be used is set aside with
its reason; nothing that lies in a file is an error of the build.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from index_builder.encoding.known_contents import KnownContents
from index_builder.galleries.thumbnails import make_display_copy, make_thumbnail
from index_builder.sources import EntryError, ImageEntry, ImageSource
from index_builder.sources.stamps import NO_STAMP, Stamp, stamp_of
from model.errors import TooManyPixelsError, UnreadablePictureError
from model.inputs.pictures import PictureTransform, open_picture

__all__ = ["PictureReader", "Pixels", "Reading", "Reason"]

Pixels = npt.NDArray[np.uint8]

_NAME_IN_MESSAGES = "the uploaded bytes: "
_WAYS_OUT = "; make it smaller, or raise --max-pixels"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an entry is set aside: a code of `Rejection` and a sentence."""

    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found where an entry points to.

    Attributes:
        content: sha256 of the bytes; None where they could not be read.
        stamp: Of the file, to notice a later change.
        reason: Why it is set aside; None if it can be used.
        is_known: An earlier gallery holds this content; it was decoded only if a display copy is
            wanted that the gallery lacks.
        width: Of the upright picture, in pixels.
        height: Of the upright picture, in pixels.
        thumbnail: JPEG; None where there is no picture.
        display_copy: JPEG, of a picture in a shard; None if it has a file of its own, or if the
            earlier gallery holds one.
        payload: What the encoder reads: pixels, regions, a text; None if it is not needed.
    """

    content: bytes | None
    stamp: Stamp = NO_STAMP
    reason: Reason | None = None
    is_known: bool = False
    width: int = 0
    height: int = 0
    thumbnail: bytes | None = None
    display_copy: bytes | None = None
    payload: Any = None


class PictureReader:
    """Reads, hashes and decodes pictures; pickles.

    Args:
        source: Where the bytes come from.
        transform: Makes what the network reads.
        max_pixels: A larger picture is set aside before it is decoded.
        known: Contents that need no encoding.
    """

    def __init__(
        self,
        source: ImageSource,
        transform: PictureTransform,
        *,
        max_pixels: int,
        known: KnownContents | None = None,
    ) -> None:
        self._source = source
        self._transform = transform
        self._max_pixels = max_pixels
        self._known = known

    def read(self, entry: ImageEntry) -> Reading:
        """Return what `entry` is, or why it cannot be used."""
        stamp = self.stamp(entry)
        unread = None if self._known is None else self._known.digest_of(entry, stamp)
        if unread is not None:
            return Reading(unread, stamp, is_known=True)
        try:
            content = self._source.read(entry)
        except EntryError as error:
            if isinstance(error.__cause__, OSError):
                # The stamp tells the same error, unless it was over in a moment.
                stamp = (-1, error.__cause__.errno or 0)
            return Reading(None, stamp, Reason(error.rejection.code, error.rejection.reason))
        if self.stamp(entry) != stamp:
            sentence = "was written to while it was read; build the index again"
            return Reading(None, stamp, Reason("changed", sentence))
        digest = hashlib.sha256(content).digest()
        # A picture in a shard has no file that could be shown.
        needs_copy = entry.span is not None
        if self._known is None or digest.hex() not in self._known:
            return self._decoded(content, digest, stamp, needs_copy=needs_copy)
        if not needs_copy or self._known.has_display_copy(digest.hex()):
            return Reading(digest, stamp, is_known=True)
        found = self._decoded(content, digest, stamp, needs_copy=True)
        return replace(found, is_known=True, payload=None)

    def stamp(self, entry: ImageEntry) -> Stamp:
        """Return the stamp of the file that `entry` is read from."""
        return NO_STAMP if self._source.root is None else stamp_of(self._source.root, entry.path)

    def _decoded(self, content: bytes, digest: bytes, stamp: Stamp, *, needs_copy: bool) -> Reading:
        try:
            picture = open_picture(content, max_pixels=self._max_pixels)
        except TooManyPixelsError as error:
            return Reading(digest, stamp, Reason("too_many_pixels", _sentence(error) + _WAYS_OUT))
        except UnreadablePictureError as error:
            return Reading(digest, stamp, Reason("unreadable", _sentence(error)))
        return Reading(
            digest,
            stamp,
            width=picture.width,
            height=picture.height,
            thumbnail=make_thumbnail(picture),
            display_copy=make_display_copy(picture) if needs_copy else None,
            payload=self._transform(picture),
        )


def _sentence(error: Exception) -> str:
    return str(error).removeprefix(_NAME_IN_MESSAGES)
