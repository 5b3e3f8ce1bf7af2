"""Writing `items.sqlite`: a new one, or a changed copy; then nobody changes it any more."""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from index_builder.galleries.items import ITEM_COLUMNS, Item
from index_builder.sources.entries import Rejection

__all__ = ["ItemChanger", "ItemWriter"]

_SCHEMA = """
CREATE TABLE items (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    caption TEXT,
    image_id TEXT,
    path TEXT,
    width INTEGER,
    height INTEGER,
    content_hash TEXT NOT NULL,
    metadata TEXT NOT NULL,
    stamp_size INTEGER NOT NULL,
    stamp_time INTEGER NOT NULL,
    span_offset INTEGER,
    span_size INTEGER
);
CREATE TABLE rejected (place TEXT NOT NULL, code TEXT NOT NULL, reason TEXT NOT NULL);
"""
# Made last: sorting once is quicker than keeping them in order.
_LOOKUPS = (
    "CREATE INDEX items_image_id ON items (image_id) WHERE image_id IS NOT NULL",
    "CREATE INDEX items_path ON items (path) WHERE path IS NOT NULL",
    "CREATE INDEX items_content_hash ON items (content_hash)",
)
_REJECT = "INSERT INTO rejected VALUES (?, ?, ?)"
_MARKS = ", ".join("?" * len(ITEM_COLUMNS.split(",")))


class ItemWriter:
    """Writes a new `items.sqlite`, item after item; the caller syncs it to the disk.

    The same items in the same order give the same bytes.
    """

    def __init__(self, path: Path) -> None:
        """Create the file."""
        self._connection = sqlite3.connect(path, isolation_level=None)
        # Nobody reads a half-built gallery, so a journal would only cost time.
        self._connection.executescript(
            f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {_SCHEMA} BEGIN"
        )

    def add(self, items: Iterable[Item]) -> None:
        """Append items, in row order."""
        self._connection.executemany(
            f"INSERT INTO items ({ITEM_COLUMNS}) VALUES ({_MARKS})",
            (_as_tuple(item) for item in items),
        )

    def reject(self, rejections: Iterable[Rejection]) -> None:
        """Append inputs that were set aside."""
        self._connection.executemany(_REJECT, map(astuple, rejections))

    def finish(self) -> None:
        """Write everything and close the file."""
        for statement in (*_LOOKUPS, "COMMIT"):
            self._connection.execute(statement)
        self._connection.close()

    def close(self) -> None:
        """Close the file as it is; harmless after `finish`."""
        self._connection.close()


class ItemChanger:
    """Changes a copy of an `items.sqlite`; the caller syncs it to the disk.

    The same changes of the same file give the same bytes.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, which is nobody else's."""
        self._connection = sqlite3.connect(path, isolation_level=None)
        # What is removed must not stay behind in pages that are not used any more.
        self._connection.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA secure_delete=ON;"
            "PRAGMA temp_store=MEMORY; CREATE TEMP TABLE named (value PRIMARY KEY); BEGIN"
        )

    def replace(self, items: Iterable[Item]) -> None:
        """Insert items, each in place of one with the same id or the same row."""
        self._connection.executemany(
            f"INSERT OR REPLACE INTO items ({ITEM_COLUMNS}) VALUES ({_MARKS})",
            (_as_tuple(item) for item in items),
        )

    def replace_rejections(self, places: Iterable[str], rejections: Iterable[Rejection]) -> None:
        """Forget what was set aside of these places, and append what is now."""
        self._delete("rejected", "place", places)
        self._connection.executemany(_REJECT, map(astuple, rejections))

    def finish(self, removed: Iterable[int]) -> None:
        """Delete the items of removed rows, write everything and close the file."""
        self._delete("items", "row", removed)
        self._connection.execute("COMMIT")
        self._connection.close()

    def close(self) -> None:
        """Close the file as it is; harmless after `finish`."""
        self._connection.close()

    def _delete(self, table: str, column: str, values: Iterable[str] | Iterable[int]) -> None:
        self._connection.execute("DELETE FROM named")
        given = ((value,) for value in values)
        self._connection.executemany("INSERT OR IGNORE INTO named VALUES (?)", given)
        self._connection.execute(f"DELETE FROM {table} WHERE {column} IN named")


def _as_tuple(item: Item) -> Sequence[Any]:
    return (
        item.id, item.row, item.caption, item.image_id, item.path, item.width, item.height,
        json.dumps(item.metadata, ensure_ascii=False), item.content_hash, *item.stamp,
        *(item.span or (None, None)),
    )  # fmt: skip
