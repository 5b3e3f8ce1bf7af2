"""Small copies of the pictures, so that a result page is light and nothing private leaks.

- A thumbnail is made of every picture. A display copy, large enough to fill a screen, is made only
  of pictures in shards: they have no file of their own that could be shown.
- Both are made from the decoded pixels alone: EXIF (places, cameras) cannot come along.
- Equal pictures share them, stored under the hash of the picture's file.
"""

import io
import sqlite3
from pathlib import Path

from PIL import Image

from index_builder.galleries.immutable_file import ImmutableFile

__all__ = [
    "DISPLAY_JPEG_QUALITY",
    "DISPLAY_LONGEST_SIDE",
    "JPEG_QUALITY",
    "LONGEST_SIDE",
    "ThumbnailStore",
    "ThumbnailWriter",
    "make_display_copy",
    "make_thumbnail",
]

LONGEST_SIDE = 256
JPEG_QUALITY = 85
DISPLAY_LONGEST_SIDE = 1024
DISPLAY_JPEG_QUALITY = 90


def make_thumbnail(picture: Image.Image) -> bytes:
    """Return a JPEG whose longest side is at most 256 pixels; small pictures keep their size."""
    return _as_jpeg(picture, LONGEST_SIDE, JPEG_QUALITY)


def make_display_copy(picture: Image.Image) -> bytes:
    """Return a JPEG whose longest side is at most 1,024 pixels; small pictures keep their size."""
    return _as_jpeg(picture, DISPLAY_LONGEST_SIDE, DISPLAY_JPEG_QUALITY)


def _as_jpeg(picture: Image.Image, longest_side: int, quality: int) -> bytes:
    is_small = max(picture.size) <= longest_side
    small = picture.copy() if is_small else _shrunk(picture, longest_side)
    small.info.clear()
    content = io.BytesIO()
    small.save(content, "JPEG", quality=quality)
    return content.getvalue()


def _shrunk(picture: Image.Image, longest_side: int) -> Image.Image:
    scale = longest_side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # reducing_gap: box-average most of the way, then filter; several times faster on photos.
    return picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


class ThumbnailWriter:
    """Writes a `thumbnails.sqlite`; the caller syncs it to the disk."""

    def __init__(self, path: Path) -> None:
        """Create the file, or go on with a copy that is nobody else's."""
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
            "CREATE TABLE IF NOT EXISTS thumbnails ("
            "content_hash TEXT PRIMARY KEY, content BLOB NOT NULL);"
            "CREATE TABLE IF NOT EXISTS display_copies ("
            "content_hash TEXT PRIMARY KEY, content BLOB NOT NULL); BEGIN"
        )

    def add(self, content_hash: str, content: bytes) -> None:
        """Store the thumbnail of one distinct picture."""
        self._connection.execute("INSERT INTO thumbnails VALUES (?, ?)", (content_hash, content))

    def add_display_copy(self, content_hash: str, content: bytes) -> None:
        """Store the display copy of a picture; of equal pictures the first is kept."""
        self._connection.execute(
            "INSERT OR IGNORE INTO display_copies VALUES (?, ?)", (content_hash, content)
        )

    def finish(self) -> None:
        """Write everything and close the file."""
        self._connection.execute("COMMIT")
        self._connection.close()

    def close(self) -> None:
        """Close the file as it is; harmless after `finish`."""
        self._connection.close()


class ThumbnailStore:
    """Reads `thumbnails.sqlite`; usable from any thread."""

    def __init__(self, path: Path) -> None:
        """Open the file without changing it."""
        self._file = ImmutableFile(path)

    def read(self, content_hash: str) -> bytes | None:
        """Return the thumbnail of a picture, or None."""
        return self._read("thumbnails", content_hash)

    def read_display_copy(self, content_hash: str) -> bytes | None:
        """Return the display copy of a picture, or None."""
        return self._read("display_copies", content_hash)

    def has_display_copy(self, content_hash: str) -> bool:
        """Return whether there is a display copy of a picture."""
        statement = "SELECT 1 FROM display_copies WHERE content_hash = ?"
        return bool(self._file.select(statement, content_hash))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, table: str, content_hash: str) -> bytes | None:
        statement = f"SELECT content FROM {table} WHERE content_hash = ?"
        found = self._file.select(statement, content_hash)
        return bytes(found[0][0]) if found else None
