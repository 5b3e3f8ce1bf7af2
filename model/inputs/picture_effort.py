"""How much work a picture file asks for, seen before it is opened.

Pillow bounds pixels and bytes, and `open_picture` the pixels before they are decoded. The number of
steps is bounded by neither: a file of 10 MB may hold a million segments, strips or scans, each of
which costs a turn of a loop. No honest picture comes near the limits below; what goes beyond them
is refused within milliseconds, where reading it would take seconds to minutes.
"""

import re
import struct
from collections.abc import Iterator

from model.errors import UnreadablePictureError

__all__ = ["MAX_FILE_BYTES", "check_directory", "check_effort"]

MAX_FILE_BYTES = 2**30
MAX_SCANS = 64  # of a progressive JPEG; encoders write about 10
MAX_SEGMENTS = 4_000  # of a JPEG, tables of its scans included
MAX_PADDING_BYTES = 65_536  # between the segments of a JPEG
MAX_CHUNKS = 60_000  # of a PNG
MAX_BLOCKS = 20_000  # of a GIF before its first frame
MAX_RUN_LENGTH_BYTES = 4_000_000  # of a BMP compressed by run lengths, decoded in Python
MAX_STRIPS = 65_536  # of a TIFF, or tiles
MAX_RATIONALS = 1_000  # of one tag; each becomes a Python object

# After a scan's data, 0xFF is a marker unless a zero (an escaped 0xFF) or a restart follows.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_START_OF_SCAN, _END_OF_IMAGE, _EXIF_SEGMENT = 0xDA, 0xD9, 0xE1
_EXIF = b"Exif\0\0"
_STRIP_TAGS = {273, 279, 324, 325}
_RATIONAL_TYPES = {5, 10}


def check_effort(content: bytes) -> None:
    """Refuse a picture file that would keep its reader busy for longer than its pixels justify.

    Whether it is a picture at all is not looked at: what is malformed passes, for the reader to
    refuse.

    Raises:
        UnreadablePictureError: It has more parts than any encoder writes.
    """
    try:
        if content[:3] == b"\xff\xd8\xff":
            _check_jpeg(content)
        elif content[:8] == b"\x89PNG\r\n\x1a\n":
            _check_png(content)
        elif content[:3] == b"GIF":
            _check_gif(content)
        elif content[:2] == b"BM":
            _check_bmp(content)
        elif content[:2] in (b"II", b"MM"):
            check_directory(content)
    except (struct.error, IndexError):
        return


def check_directory(block: bytes) -> None:
    """Refuse a TIFF, or a block of EXIF, whose first directory lists too many strips or values.

    Raises:
        UnreadablePictureError: It does.
    """
    block = block.removeprefix(_EXIF)
    for tag, kind, count in _entries(block):
        if tag in _STRIP_TAGS and count > MAX_STRIPS:
            raise _too_many(count, "strips or tiles", MAX_STRIPS)
        if kind in _RATIONAL_TYPES and count > MAX_RATIONALS:
            raise _too_many(count, f"values of tag {tag}", MAX_RATIONALS)


def _entries(block: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield tag, type and count of what the first directory lists, up to the end of the block."""
    order = "<" if block[:2] == b"II" else ">"
    is_big = 43 in block[2:4]
    start, count, entry = ("Q", "Q", "HHQ8x") if is_big else ("L", "H", "HHL4x")
    try:
        (at,) = struct.unpack_from(order + start, block, 8 if is_big else 4)
        (entry_count,) = struct.unpack_from(order + count, block, at)
        at += struct.calcsize(order + count)
        size = struct.calcsize(order + entry)
        for place in range(min(entry_count, len(block) // size)):
            yield struct.unpack_from(order + entry, block, at + place * size)
    except (struct.error, OverflowError):
        return


def _check_jpeg(content: bytes) -> None:
    segments = scans = padding = 0
    exif = bytearray()
    at = 2
    while (found := _MARKER.search(content, at)) is not None:
        marker = content[found.start() + 1]
        segments += 1
        if segments > MAX_SEGMENTS:
            raise _too_many(segments, "segments", MAX_SEGMENTS)
        if marker == _END_OF_IMAGE:
            break
        if not scans:
            padding += found.start() - at
            if padding > MAX_PADDING_BYTES:
                raise _too_many(padding, "bytes between segments", MAX_PADDING_BYTES)
        if marker == _START_OF_SCAN:
            scans += 1
            if scans > MAX_SCANS:
                raise _too_many(scans, "scans", MAX_SCANS)
        (length,) = struct.unpack_from(">H", content, found.end())
        if marker == _EXIF_SEGMENT and content.startswith(_EXIF, found.end() + 2):
            exif += content[found.end() + 2 + len(_EXIF) : found.end() + length]
        at = found.end() + max(length, 2)
    check_directory(bytes(exif))


def _check_png(content: bytes) -> None:
    at = 8
    chunks = 0
    while at + 8 <= len(content):
        chunks += 1
        if chunks > MAX_CHUNKS:
            raise _too_many(chunks, "chunks", MAX_CHUNKS)
        (length,) = struct.unpack_from(">L", content, at)
        at += 12 + length


def _check_gif(content: bytes) -> None:
    at = 13 + (3 << (content[10] & 7) + 1 if content[10] & 128 else 0)
    blocks = 0
    while content[at] not in b",;":
        blocks += 1
        if content[at] == ord("!"):
            # An extension and its kind, then blocks up to an empty one.
            at += 2
            while content[at]:
                at += content[at] + 1
                blocks += 1
                if blocks > MAX_BLOCKS:
                    break
        at += 1
        if blocks > MAX_BLOCKS:
            raise _too_many(blocks, "blocks before its first frame", MAX_BLOCKS)


def _check_bmp(content: bytes) -> None:
    (header_size,) = struct.unpack_from("<L", content, 14)
    if header_size < 20:
        return
    (compression,) = struct.unpack_from("<L", content, 30)
    if compression in (1, 2) and len(content) > MAX_RUN_LENGTH_BYTES:
        raise _too_many(len(content), "bytes of run lengths", MAX_RUN_LENGTH_BYTES)


def _too_many(count: int, parts: str, most: int) -> UnreadablePictureError:
    return UnreadablePictureError(
        f"the picture has {count:,} {parts}, at most {most:,} are read; save it anew"
    )
