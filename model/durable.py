"""Writes that survive a kill: a reader sees the old file or the new one, whole.

Everything is written under a name that starts with a dot, flushed to the disk, renamed into place,
and the rename itself is flushed by syncing the folder.
"""

import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["move_file", "move_folder", "sync_file", "sync_folder", "write_file", "write_lines"]


def write_file(path: Path, content: bytes | str) -> None:
    """Replace the file at `path` by one with `content` (text: UTF-8), atomically and durably."""
    draft = path.with_name(f".{path.name}.tmp")
    draft.write_bytes(content.encode() if isinstance(content, str) else content)
    move_file(draft, path)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Replace the file at `path` by one with `lines` (UTF-8), atomically, durably and streamed."""
    draft = path.with_name(f".{path.name}.tmp")
    with draft.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
    move_file(draft, path)


def move_file(draft: Path, path: Path) -> None:
    """Flush a finished file and rename it into place, over the one that is there."""
    sync_file(draft)
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
