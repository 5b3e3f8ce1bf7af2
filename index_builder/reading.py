"""A picture's file becomes what the encoder and the gallery need of it, in any process.

The bytes are read once: what is hashed is what is decoded. What cannot be used is set aside with
its reason; nothing that lies in a file is an error of the build.
"""

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from index_builder.known import KnownContents
from index_builder.opened_sources import ImageSource
from index_builder.sources import ImageEntry
from index_builder.stamps import NO_STAMP, Stamp, stamp_of
from index_builder.thumbnails import make_thumbnail
from model.errors import TooManyPixelsError, UnreadablePictureError
from model.inputs.pictures import PictureTransform, open_picture

__all__ = ["PictureReader", "Pixels", "Reading", "Reason"]

Pixels = npt.NDArray[np.uint8]

# Any format stores less than this for each of its pixels, and a header besides.
_MAX_BYTES_PER_PIXEL = 16
_MAX_HEADER_BYTES = 1 << 20
_NAME_IN_MESSAGES = "the uploaded bytes: "


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
        is_known: An earlier gallery holds this content; nothing was decoded.
        width: Of the upright picture, in pixels.
        height: Of the upright picture, in pixels.
        thumbnail: JPEG; None where there is no picture.
        payload: What the encoder reads: pixels, regions, a text; None if it is not needed.
    """

    content: bytes | None
    stamp: Stamp = NO_STAMP
    reason: Reason | None = None
    is_known: bool = False
    width: int = 0
    height: int = 0
    thumbnail: bytes | None = None
    payload: Any = None


class PictureReader:
    """Reads, hashes and decodes pictures; pickles.

    Args:
        source: Where the bytes come from.
        transform: Makes what the network reads.
        max_pixels: A larger picture is set aside before it is decoded.
        known: Contents that need no decoding.
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
        reason = self._reason_not_to_read(entry)
        stamp = self.stamp(entry)
        if reason is not None:
            return Reading(None, stamp, reason)
        try:
            content = self._source.read(entry)
        except OSError as error:
            # The stamp tells the same error, unless it was over in a moment.
            failed = (-1, error.errno or 0)
            return Reading(None, failed, _reason_of(error.errno or 0))
        if self.stamp(entry) != stamp:
            sentence = "was written to while it was read; build the index again"
            return Reading(None, stamp, Reason("changed", sentence))
        digest = hashlib.sha256(content).digest()
        if self._known is not None and digest.hex() in self._known:
            return Reading(digest, stamp, is_known=True)
        return self._decoded(content, digest, stamp)

    def stamp(self, entry: ImageEntry) -> Stamp:
        """Return the stamp of the file that `entry` is read from."""
        return NO_STAMP if self._source.root is None else stamp_of(self._source.root, entry.path)

    def _reason_not_to_read(self, entry: ImageEntry) -> Reason | None:
        root = self._source.root
        if root is None:
            return None
        try:
            place = (root / entry.path).resolve()
            if not place.is_relative_to(root):
                return Reason("outside_root", f"leads out of the images' root {root}")
            status = place.stat()
        except NotADirectoryError:
            return None  # inside another file, such as a tar shard
        except ValueError:  # a zero byte, which no name can have
            return _reason_of(errno.ENOENT)
        except RuntimeError:  # how pathlib tells links that lead in a circle
            return _reason_of(errno.ELOOP)
        except OSError as error:
            return _reason_of(error.errno or 0)
        if not stat.S_ISREG(status.st_mode):
            kind = "folder" if stat.S_ISDIR(status.st_mode) else "special file"
            return Reason("unreadable", f"is a {kind} and no picture")
        if status.st_size > self._max_pixels * _MAX_BYTES_PER_PIXEL + _MAX_HEADER_BYTES:
            size = f"{status.st_size / 1e6:.1f} MB"
            limit = f"{self._max_pixels / 1e6:.1f} megapixels"
            return Reason("too_many_bytes", f"has {size}, more than a picture of {limit} needs")
        return None

    def _decoded(self, content: bytes, digest: bytes, stamp: Stamp) -> Reading:
        try:
            picture = open_picture(content, max_pixels=self._max_pixels)
        except TooManyPixelsError as error:
            return Reading(digest, stamp, Reason("too_many_pixels", _sentence(error)))
        except UnreadablePictureError as error:
            return Reading(digest, stamp, Reason("unreadable", _sentence(error)))
        return Reading(
            digest,
            stamp,
            width=picture.width,
            height=picture.height,
            thumbnail=make_thumbnail(picture),
            payload=self._transform(picture).numpy(),
        )


def _reason_of(code: int) -> Reason:
    if code == errno.ENOENT:
        return Reason("missing", "no such file")
    return Reason("unreadable", f"cannot be read: {os.strerror(code)}")


def _sentence(error: Exception) -> str:
    return str(error).removeprefix(_NAME_IN_MESSAGES)
