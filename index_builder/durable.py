"""Writes that survive a kill: a reader sees the old file or the new one, whole.

Everything is written under a name that starts with a dot, flushed to the disk, renamed into place,
and the rename itself is flushed by syncing the folder.
"""

import os
from pathlib import Path

__all__ = ["move_folder", "sync_file", "sync_folder", "write_file"]


def write_file(path: Path, content: bytes) -> None:
    """Replace the file at `path` by one with `content`, atomically and durably."""
    draft = path.with_name(f".{path.name}.tmp")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def move_folder(draft: Path, path: Path) -> None:
    """Rename a finished folder into place; its files must be synced already."""
    sync_folder(draft)
    draft.rename(path)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Flush the bytes of a file to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Flush the names in a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
