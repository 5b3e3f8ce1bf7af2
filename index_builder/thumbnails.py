"""Small copies of the pictures, so that a result page is light and nothing private leaks.

A thumbnail is made from the decoded pixels alone: EXIF (places, cameras) cannot come along.
Equal pictures share one thumbnail, stored under the hash of the picture's file.
"""

import io
import sqlite3
import threading
from pathlib import Path

from PIL import Image

from index_builder.items import open_immutable
from model.errors import GalleryIndexError

__all__ = [
    "JPEG_QUALITY",
    "LONGEST_SIDE",
    "ThumbnailStore",
    "ThumbnailWriter",
    "make_thumbnail",
]

LONGEST_SIDE = 256
JPEG_QUALITY = 85


def make_thumbnail(picture: Image.Image) -> bytes:
    """Return a JPEG whose longest side is at most 256 pixels; small pictures keep their size."""
    small = picture.copy() if max(picture.size) <= LONGEST_SIDE else _shrunk(picture)
    small.info.clear()
    content = io.BytesIO()
    small.save(content, "JPEG", quality=JPEG_QUALITY)
    return content.getvalue()


def _shrunk(picture: Image.Image) -> Image.Image:
    scale = LONGEST_SIDE / max(picture.size)
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
            "content_hash TEXT PRIMARY KEY, content BLOB NOT NULL); BEGIN"
        )

    def add(self, content_hash: str, content: bytes) -> None:
        """Store the thumbnail of one distinct picture."""
        self._connection.execute("INSERT INTO thumbnails VALUES (?, ?)", (content_hash, content))

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
        self.path = path
        self._connection = open_immutable(path)
        self._lock = threading.Lock()

    def read(self, content_hash: str) -> bytes | None:
        """Return the thumbnail of a picture, or None."""
        try:
            with self._lock:
                found = self._connection.execute(
                    "SELECT content FROM thumbnails WHERE content_hash = ?", (content_hash,)
                ).fetchone()
        except sqlite3.DatabaseError as error:
            raise GalleryIndexError(
                f"{self.path} cannot be read ({error}); build the index again"
            ) from error
        return None if found is None else bytes(found[0])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
