"""The bytes of a picture's file, read from below a root and never from outside it."""

import os
import stat
from pathlib import Path

from index_builder.sources.columns import meant_paths, told_meaning
from index_builder.sources.entries import EntryError

__all__ = [
    "MAX_PICTURE_BYTES",
    "OTHER_PICTURE_ENDINGS",
    "PICTURE_ENDINGS",
    "read_picture_file",
    "resolved_below",
    "too_large",
]

PICTURE_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
# Hold pictures too, in formats that are not read.
OTHER_PICTURE_ENDINGS = frozenset(
    {
        ".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2",
        # as cameras write them
        ".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".pef", ".srw",
    }
)  # fmt: skip
# Far above any picture within the pixel limit: 25 megapixels of 8 bytes each are 200 MB.
MAX_PICTURE_BYTES = 512 << 20


def read_picture_file(root: Path, path: str) -> bytes:
    """Return the bytes of the file at `path`, symbolic links followed inside the root.

    Args:
        root: Absolute, without symbolic links.
        path: Relative to it.

    Raises:
        EntryError: There is no such file, it leads out of the root, or cannot be read.
    """
    place = resolved_below(root, path)
    try:
        with open(place, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise EntryError(path, "unreadable", "is no file")
            if status.st_size > MAX_PICTURE_BYTES:
                raise EntryError(path, "too_large", too_large(status.st_size))
            return file.read()
    except FileNotFoundError as error:
        raise EntryError(path, "missing", f"no such file{_instead(root, path)}") from error
    except OSError as error:
        raise EntryError(path, "unreadable", f"cannot be read: {error.strerror}") from error


def resolved_below(root: Path, path: str) -> Path:
    """Return where a path below `root` leads.

    Raises:
        EntryError: It leads out of the root, or in a circle.
    """
    try:
        place = (root / path).resolve()
    except (OSError, RuntimeError) as error:
        raise EntryError(path, "unreadable", "its symbolic links lead nowhere") from error
    if not place.is_relative_to(root):
        raise EntryError(path, "outside_root", f"leads out of the images' root {root}")
    return place


def _instead(root: Path, path: str) -> str:
    """Return the hint at a file that is there and that the path may mean; or ""."""
    for meant in meant_paths(path):
        if (root / meant).is_file():
            return f", but there is one {told_meaning(path, meant)}"
    return ""


def too_large(size: int) -> str:
    """Return the reason why a file of `size` bytes is set aside."""
    return f"has {size / 1e6:,.0f} MB, more than the {MAX_PICTURE_BYTES / 1e6:,.0f} MB of a picture"


def _open_without_waiting(path: str, flags: int) -> int:
    # A named pipe would otherwise wait for somebody to write into it.
    return os.open(path, flags | os.O_NONBLOCK)
