"""The files inside a tar shard: found front to back, read by their place.

The listing reads headers, and the bytes of `.json` and `.txt`; pictures are skipped. It holds one
member at a time. Reading a picture later opens the shard at the place that the listing noted.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from index_builder.sources.entries import Rejection, Span
from index_builder.sources.picture_file import PICTURE_ENDINGS
from index_builder.sources.problems import Problems, is_unicode
from model.errors import DataError

__all__ = ["TEXT_ENDINGS", "Member", "find_members", "read_span"]

TEXT_ENDINGS = frozenset({".json", ".txt"})
_MAX_TEXT_BYTES = 1 << 20
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, slots=True)
class Member:
    """One picture or text inside a shard.

    Attributes:
        path: Posix, inside the shard.
        span: Where its bytes lie.
        content: The bytes of a text; empty for a picture.
    """

    path: PurePosixPath
    span: Span
    content: bytes = b""

    @property
    def key(self) -> PurePosixPath:
        """The path up to the first dot of the name, which a sample's members share."""
        return self.path.with_name(self.path.name.split(".", 1)[0])

    @property
    def stem(self) -> PurePosixPath:
        """The path up to the last dot of the name."""
        return self.path.with_suffix("")

    @property
    def ending(self) -> str:
        """The last dot of the name and what follows, in small letters."""
        return self.path.suffix.lower()

    @property
    def is_picture(self) -> bool:
        """Whether the name says so."""
        return self.ending in PICTURE_ENDINGS


def find_members(shard: Path, name: str, problems: Problems) -> Iterator[Member | Rejection]:
    """Yield the pictures and texts of a shard in its order; others and hidden ones are passed over.

    A damaged shard, and a member whose name leads out of it, are problems.

    Args:
        shard: The file.
        name: What problems and rejections call it.
        problems: Takes what is wrong with the shard.
    """
    try:
        with shard.open("rb") as file:
            for info in _headers(file):
                path = PurePosixPath(info.name)
                if info.isdir() or path.suffix.lower() not in PICTURE_ENDINGS | TEXT_ENDINGS:
                    continue
                place = f"{name}/{path}"
                if not is_unicode(info.name):
                    raw = info.name.encode(errors="surrogateescape")
                    problems.add_at(name, f"the name {raw!r} is not UTF-8; write the shard again")
                elif path.is_absolute() or ".." in path.parts:
                    told = "leads out of the shard; write it again with relative names"
                    problems.add_at(name, f"member {info.name!r} {told}")
                elif any(part.startswith(".") for part in path.parts):
                    continue
                elif info.type not in _FILES:
                    yield Rejection(place, "unreadable", "is a link or no plain file in its shard")
                elif path.suffix.lower() in PICTURE_ENDINGS:
                    yield Member(path, Span(info.offset_data, info.size))
                elif info.size > _MAX_TEXT_BYTES:
                    yield Rejection(place, "too_large", f"has {info.size:,} bytes of text")
                else:
                    file.seek(info.offset_data)
                    span = Span(info.offset_data, info.size)
                    yield Member(path, span, file.read(info.size))
    except DataError as error:
        problems.add_at(name, str(error))
    except OSError as error:
        problems.add_at(name, f"cannot be read: {error.strerror}")


def read_span(shard: Path, span: Span) -> bytes | None:
    """Return the bytes of a member, or None where no member of that size begins there any more.

    Raises:
        OSError: The shard cannot be read.
    """
    with shard.open("rb") as file:
        file.seek(span.offset - _BLOCK)
        found = file.read(_BLOCK + span.size)
    try:
        header = tarfile.TarInfo.frombuf(found[:_BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return None
    content = found[_BLOCK:]
    is_there = header.type in _FILES and header.size == span.size == len(content)
    return content if is_there else None


def _headers(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Yield the header of each member.

    Raises:
        DataError: The file is no tar file, packed, damaged, or ends too early.
    """
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            place = -1
            while (info := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep every header
                if tar.offset <= place or info.size < 0:
                    raise DataError(f"damaged after byte {place:,}; copy or write it again")
                place = tar.offset
                yield info
            # tarfile takes a damaged header for the end.
            file.seek(tar.offset)
            mark = file.read(_BLOCK)
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise DataError(_reason(file, error)) from error
    if len(mark) < _BLOCK:
        raise DataError("cut off: the mark at the end of a tar file is missing; copy it again")
    if any(mark):
        raise DataError(f"damaged at byte {tar.offset:,}; copy or write it again")


def _reason(file: BinaryIO, error: Exception) -> str:
    file.seek(0)
    begin = file.read(6)
    for magic, program in ((b"\x1f\x8b", "gunzip"), (b"\xfd7zXZ", "unxz"), (b"BZh", "bunzip2"),
                           (b"\x28\xb5\x2f\xfd", "unzstd")):  # fmt: skip
        if begin.startswith(magic):
            return f"is packed, so its members cannot be read by place; unpack it with {program}"
    if not begin:
        return "is empty; copy or write it again"
    if "end of data" in str(error) or isinstance(error, EOFError):
        return "cut off in the middle of a member; copy it again"
    return f"is no tar file, or damaged ({error}); copy or write it again"
