"""A row of a table, whatever the format of its file, and what every table can do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from index_builder.sources.problems import Problems

__all__ = ["Row", "Table"]


class Row(NamedTuple):
    """One row.

    Attributes:
        place: `file:line`, or `file row number` where there are no lines.
        values: As JSON knows them, by name of the column; None is a missing value.
    """

    place: str
    values: dict[str, Any]


class Table(Protocol):
    """A file of rows. Can be pickled."""

    @property
    def path(self) -> Path:
        """The file."""

    def names(self) -> list[str] | None:
        """Return the names of the columns, None where every row has its own.

        Raises:
            DataError: The file cannot be read.
        """

    def rows(self, problems: Problems) -> Iterator[Row]:
        """Yield the rows one at a time.

        A row that cannot be used goes to `problems` with its place; those after it follow.

        Raises:
            DataError: The file cannot be read at all.
        """
