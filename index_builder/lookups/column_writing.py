"""Writing `columns.sqlite`: the metadata of a gallery once more, column by column, for filters.

Every column is turned round: its distinct values in order, and for each the rows that have it, one
run after the other. So a comparison is two look-ups and one run of row numbers, whatever its
operator, and a range of half a million rows costs a few milliseconds.

    columns     name, type, how many row numbers it has, and a bit for each row that has a value
    entries     the distinct values, typed; an integer may stand beside a number; `start` is the
                place of the first row number
    postings    row numbers, uint32, little-endian, ROWS_AT_ONCE in a piece

The elements of a list are its values; a row stands with each of them once. Columns of type `json`
are left out. The file is made of `items.sqlite` and the types in the manifest, and nothing else.
"""

import sqlite3
from array import array
from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from index_builder.batched import batched
from index_builder.galleries.items import ItemStore
from index_builder.galleries.manifest import ColumnType

__all__ = ["ROWS_AT_ONCE", "write_columns"]

ROWS_AT_ONCE = 8192

_ITEMS_AT_ONCE = 4096
# No declared type: values stay what they are, and integers compare exactly with numbers.
_SCHEMA = """
CREATE TABLE columns (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    posting_count INTEGER NOT NULL,
    present BLOB NOT NULL
);
CREATE TABLE entries (
    number INTEGER NOT NULL,
    value NOT NULL,
    start INTEGER NOT NULL,
    PRIMARY KEY (number, value)
) WITHOUT ROWID;
CREATE TABLE postings (
    number INTEGER NOT NULL,
    piece INTEGER NOT NULL,
    rows BLOB NOT NULL,
    PRIMARY KEY (number, piece)
);
"""


def write_columns(path: Path, items: ItemStore, types: Mapping[str, ColumnType]) -> None:
    """Write a new `columns.sqlite`; the caller syncs it to the disk.

    The same items and types give the same bytes.

    Args:
        path: Of the file.
        items: All that `items.sqlite` holds, in row order.
        types: As the manifest has them. A value that does not fit, which only a removed row can
            have, is passed over.
    """
    comparable = {name: kind for name, kind in types.items() if kind != "json"}
    # A database without a name lies in a temporary file, and goes when it is closed.
    sorter = sqlite3.connect("", isolation_level=None)
    file = sqlite3.connect(path, isolation_level=None)
    try:
        sorter.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
            "CREATE TABLE found (number INTEGER, value, row INTEGER); BEGIN"
        )
        present = _collect(sorter, items, comparable)
        file.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {_SCHEMA} BEGIN")
        counts = dict.fromkeys(range(len(comparable)), 0)
        ordered = sorter.execute("SELECT number, value, row FROM found ORDER BY number, value, row")
        for number, found in groupby(ordered, key=itemgetter(0)):
            counts[number] = _write_column(file, number, found)
        file.executemany(
            "INSERT INTO columns VALUES (?, ?, ?, ?, ?)",
            (
                (number, name, kind, counts[number], np.packbits(bits, bitorder="little").tobytes())
                for (number, (name, kind)), bits in zip(
                    enumerate(comparable.items()), present, strict=True
                )
            ),
        )
        file.execute("COMMIT")
    finally:
        file.close()
        sorter.close()


def _collect(
    sorter: sqlite3.Connection, items: ItemStore, types: Mapping[str, ColumnType]
) -> list[np.ndarray]:
    """Put every value into the sorter; return for each column which rows have one."""
    present = [np.zeros(items.end(), dtype=np.bool_) for _ in types]
    for some in batched(items.metadata(), _ITEMS_AT_ONCE):
        found: list[tuple[int, Any, int]] = []
        for row, metadata in some:
            for number, (name, kind) in enumerate(types.items()):
                values = _values_of(metadata.get(name), kind)
                if values is not None:
                    present[number][row] = True
                    found.extend((number, value, row) for value in values)
        sorter.executemany("INSERT INTO found VALUES (?, ?, ?)", found)
    return present


def _write_column(
    file: sqlite3.Connection, number: int, found: Iterable[tuple[int, Any, int]]
) -> int:
    """Write the values and rows of one column, which come in order; return how many rows."""
    rows, piece, count = array("I"), 0, 0
    assert rows.itemsize == np.dtype("<u4").itemsize

    def write_piece() -> None:
        content = np.asarray(rows, dtype="<u4").tobytes()
        file.execute("INSERT INTO postings VALUES (?, ?, ?)", (number, piece, content))

    for value, same in groupby(found, key=itemgetter(1)):
        file.execute("INSERT INTO entries VALUES (?, ?, ?)", (number, value, count))
        for _, _, row in same:
            rows.append(row)
            count += 1
            if len(rows) == ROWS_AT_ONCE:
                write_piece()
                rows, piece = array("I"), piece + 1
    if rows:
        write_piece()
    return count


def _values_of(value: Any, kind: ColumnType) -> list[Any] | None:
    """Return what a row is found by in a column, each once; None if its value is missing."""
    element = kind.removesuffix("_list")
    if element == kind:
        return [value] if _fits(value, element) else None
    if not isinstance(value, list):
        return None
    elements = [each for each in value if each is not None]
    if not all(_fits(each, element) for each in elements):
        return None
    return list(dict.fromkeys(elements))


def _fits(value: Any, element: str) -> bool:
    if isinstance(value, bool) or element == "boolean":
        return element == "boolean" and isinstance(value, bool)
    if element == "text":
        return isinstance(value, str)
    # NaN is the one number that is not itself, and no value.
    return isinstance(value, int) or (
        element == "number" and isinstance(value, float) and value == value
    )
