"""Reading `columns.sqlite`: which rows a filter fits, and what a column's values are like.

A connection of its own and a lock of its own: a filter never keeps anybody waiting who looks up
items.
"""

import math
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from index_builder.galleries.immutable_file import ImmutableFile
from index_builder.galleries.manifest import ColumnType
from index_builder.lookups.column_writing import ROWS_AT_ONCE
from index_builder.lookups.filters import And, Comparison, Or
from index_builder.vector_index import AllowedRows, RowNumbers
from model.errors import GalleryIndexError

__all__ = ["ColumnStore", "ColumnSummary", "Scalar"]

Scalar = bool | int | float | str
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class ColumnSummary:
    """What the items of a gallery have in a column that filters take.

    Attributes:
        type: Of the column; of a list column the elements are what is summed up.
        minimum: The least value, of numbers; None where there is none.
        maximum: The greatest.
        values: All different values in order, if they are few and no numbers; else None.
    """

    type: ColumnType
    minimum: int | float | None
    maximum: int | float | None
    values: tuple[Scalar, ...] | None


@dataclass(frozen=True, slots=True)
class _Column:
    number: int
    type: ColumnType
    posting_count: int


class ColumnStore:
    """The columns of a gallery; safe to use from several threads.

    Args:
        path: `columns.sqlite`, which is not changed.
        row_count: Rows of the gallery, those of removed items included.
    """

    def __init__(self, path: Path, row_count: int) -> None:
        self._row_count = row_count
        self._file = ImmutableFile(path)
        statement = "SELECT name, number, type, posting_count FROM columns ORDER BY number"
        try:
            found = self._file.select(statement)
        except GalleryIndexError:
            self._file.close()
            raise
        self._columns = {name: _Column(*facts) for name, *facts in found}

    def matching(self, wanted: Comparison | And | Or) -> AllowedRows:
        """Return (row,), True where a filter fits; rows of removed items may be among them.

        Args:
            wanted: Without `not`, and with nothing wrong: see `positive` and `filter_problems`.

        Raises:
            GalleryIndexError: The file is damaged.
        """
        with self._file.reading():
            return self._matching(wanted)

    def summaries(self, live: AllowedRows | None, *, most_values: int) -> dict[str, ColumnSummary]:
        """Return what the items that were not removed have, by column.

        Args:
            live: (row,), False where an item was removed; None where none was.
            most_values: A column with more different values has none of them listed.
        """
        summaries = {}
        for name, column in self._columns.items():
            with self._file.reading():  # one column at a time: others may come in between
                summaries[name] = self._summary(column, live, most_values)
        return summaries

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _matching(self, wanted: Comparison | And | Or) -> AllowedRows:
        if isinstance(wanted, Comparison):
            return self._compared(wanted)
        is_and = isinstance(wanted, And)
        result = np.full(self._row_count, is_and)
        for part in wanted.parts:
            found = self._matching(part)  # type: ignore[arg-type]
            if is_and:
                result &= found
            else:
                result |= found
            if is_and and not result.any():
                break
        return result

    def _compared(self, wanted: Comparison) -> AllowedRows:
        column, operator, value = self._columns[wanted.column], wanted.operator, wanted.value
        if value is None:
            present = self._present(column)
            return ~present if operator == "eq" else present
        if operator in ("lt", "lte", "gt", "gte"):
            assert not isinstance(value, tuple)
            place = self._rank(column, value, is_after=operator in ("lte", "gt"))
            is_below = operator in ("lt", "lte")
            runs = [(0, place) if is_below else (place, column.posting_count)]
        else:
            values = value if isinstance(value, tuple) else (value,)
            runs = [self._run_of(column, each) for each in values if each is not None]
        result = np.zeros(self._row_count, dtype=np.bool_)
        for start, stop in runs:
            for rows in self._rows(column, start, stop):
                result[rows] = True
        if operator in ("ne", "not_in"):
            result = self._present(column) & ~result
        return result

    def _run_of(self, column: _Column, value: Scalar) -> tuple[int, int]:
        start = self._rank(column, value, is_after=False)
        return start, self._rank(column, value, is_after=True)

    def _rank(self, column: _Column, value: Scalar, *, is_after: bool) -> int:
        """Return how many row numbers stand before a value, or with `is_after` up to it."""
        if isinstance(value, int) and not _SMALLEST <= value <= _LARGEST:
            # SQLite has no such integers, nor has the column: between an integer and the number
            # nearest to it lies no other number.
            nearest = _nearest_number(value)
            is_after = is_after if nearest == value else nearest < value
            value = nearest
        sign = ">" if is_after else ">="
        found = self._execute(
            f"SELECT start FROM entries WHERE number = ? AND value {sign} ? ORDER BY value LIMIT 1",
            column.number,
            value,
        ).fetchone()
        return column.posting_count if found is None else int(found[0])

    def _rows(self, column: _Column, start: int, stop: int) -> Iterator[RowNumbers]:
        """Yield the row numbers from one place to before another."""
        if start >= stop:
            return
        statement = (
            "SELECT piece, rows FROM postings WHERE number = ? AND piece BETWEEN ? AND ? "
            "ORDER BY piece"
        )
        pieces = start // ROWS_AT_ONCE, (stop - 1) // ROWS_AT_ONCE
        for piece, content in self._execute(statement, column.number, *pieces):
            first = piece * ROWS_AT_ONCE
            yield np.frombuffer(content, "<u4")[max(0, start - first) : stop - first]

    def _present(self, column: _Column) -> AllowedRows:
        statement = "SELECT present FROM columns WHERE number = ?"
        (content,) = self._execute(statement, column.number).fetchone()
        bits = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")
        result = np.zeros(self._row_count, dtype=np.bool_)
        # The last rows may be gone from the items; and bits come in eights.
        result[: len(bits)] = bits[: self._row_count]
        return result

    def _summary(
        self, column: _Column, live: AllowedRows | None, most_values: int
    ) -> ColumnSummary:
        element = column.type.removesuffix("_list")
        if element in ("integer", "number"):
            least = next(self._live_values(column, live, "ASC"), None)
            greatest = next(self._live_values(column, live, "DESC"), None)
            return ColumnSummary(column.type, least, greatest, None)  # type: ignore[arg-type]
        first = tuple(islice(self._live_values(column, live, "ASC"), most_values + 1))
        if len(first) > most_values:
            return ColumnSummary(column.type, None, None, None)
        values = tuple(map(bool, first)) if element == "boolean" else first
        return ColumnSummary(column.type, None, None, values)

    def _live_values(
        self, column: _Column, live: AllowedRows | None, order: Literal["ASC", "DESC"]
    ) -> Iterator[Scalar]:
        """Yield the different values in order that any item has which was not removed."""
        for value in self._values(column, order):
            if live is None or any(
                live[rows].any() for rows in self._rows(column, *self._run_of(column, value))
            ):
                yield value

    def _values(self, column: _Column, order: Literal["ASC", "DESC"]) -> Iterator[Scalar]:
        statement = f"SELECT value FROM entries WHERE number = ? ORDER BY value {order}"
        for (value,) in self._execute(statement, column.number):
            yield value

    def _execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return self._file.connection.execute(statement, values)


def _nearest_number(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)
