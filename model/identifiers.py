"""Identifiers of images and captions, the same for training, building and serving.

An id given by the user wins; the default is derived from the path or the text, so that the same
source always yields the same ids.
"""

import hashlib
import re
from pathlib import Path

from model.errors import DataError

__all__ = ["caption_id", "check_item_id", "image_id_for_path", "sha256_of_file"]

_ITEM_ID = re.compile(r"[A-Za-z0-9._~-]{1,200}")
_DIGITS = 20


def image_id_for_path(relative_path: str) -> str:
    """Return the default id of the picture at `relative_path` (posix, relative to its root)."""
    return hashlib.sha256(relative_path.encode()).hexdigest()[:_DIGITS]


def caption_id(text: str, place: int) -> str:
    """Return the default id of a caption: of its text and its zero-based place in the source."""
    return hashlib.sha256(f"{place}\n{text}".encode()).hexdigest()[:_DIGITS]


def check_item_id(item_id: str) -> str:
    """Return `item_id` unchanged.

    Raises:
        DataError: It is empty, longer than 200 characters, or has other characters than
            `A-Za-z0-9._~-`.
    """
    if not _ITEM_ID.fullmatch(item_id):
        raise DataError(
            f"id {item_id[:60]!r} is not allowed; use 1-200 characters of A-Z a-z 0-9 . _ ~ -"
        )
    return item_id


def sha256_of_file(path: Path) -> str:
    """Return the hex sha256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
