"""What filters and full text look up: is it what the items say?"""

import sqlite3
import tempfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from index_builder.galleries.immutable_file import open_immutable
from index_builder.lookups.lookup_files import lookup_files, write_lookups
from index_builder.verification.findings import Check
from index_builder.verification.opened import OpenedGallery

__all__ = ["check_lookups"]

# In the order in which they are compared; a damaged posting is told as one.
_TABLES = {
    "columns.sqlite": {
        "columns": "number", "entries": "number, value", "postings": "number, piece",
    },
    "words.sqlite": {
        "facts": "caption_count", "words": "word", "postings": "piece", "lengths": "piece",
    },
}  # fmt: skip


def check_lookups(opened: OpenedGallery, check: Check) -> None:
    """Make both files once more of the items, in a temporary folder, and compare what they hold.

    Not their bytes: another release of SQLite may lay out the same rows in another way.
    """
    gallery = opened.gallery
    names = lookup_files(gallery.kind)
    with tempfile.TemporaryDirectory() as place:
        write_lookups(
            Path(place),
            names,
            items_path=gallery.folder / "items.sqlite",
            columns=gallery.manifest.columns,
        )
        for name in names:
            table = _first_difference(gallery.folder / name, Path(place) / name, _TABLES[name])
            if table is not None:
                check.problems.append(
                    f"{opened.place}/{name}: its {table} are not those of the items in "
                    f"items.sqlite; {opened.advice}"
                )
    check.looked_at = f"{len(gallery.manifest.columns)} columns"


def _first_difference(found: Path, expected: Path, tables: dict[str, str]) -> str | None:
    """Return the first table that differs between two files, or None."""
    connections = [open_immutable(path) for path in (found, expected)]
    try:
        for table, order in tables.items():
            here, there = (_rows(connection, table, order) for connection in connections)
            if any(one != other for one, other in zip_longest(here, there)):
                return table
    finally:
        for connection in connections:
            connection.close()
    return None


def _rows(connection: sqlite3.Connection, table: str, order: str) -> Iterator[tuple[object, ...]]:
    return connection.execute(f"SELECT * FROM {table} ORDER BY {order}")
