"""`.csv`: a header line, then one item a row, cells separated by commas.

The cells of a CSV file are texts, so a metadata column gets its type from all of its values
together: whole numbers, numbers, true/false, else text. An empty cell is a missing value. A number
has no leading zeros and at most 18 digits before the point; so 00123 and long codes stay texts.
Where there are metadata columns the file is read twice, a row at a time: for types, then for rows.
"""

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index_builder.sources.json_lines import json_list
from index_builder.sources.problems import NotUtf8, Problems, is_unicode
from index_builder.sources.row import Row
from model.console import warn
from model.errors import DataError

__all__ = ["CsvTable"]

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})?(\.[0-9]+)?(?<=[0-9])([eE][-+]?[0-9]{1,2})?")
_BOOLEAN = re.compile(r"true|false", re.IGNORECASE)
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars (|)"}
_LONGEST_HEADER = 1_000_000
_LISTS = ("captions",)
# So many cells that are no numbers, and the column is meant to be text.
_MOST_MISFITS = 100
_SHOWN_CELL_LENGTH = 40


@dataclass(frozen=True)
class CsvTable:
    """The rows of a `.csv` file.

    Attributes:
        path: The file.
        own_columns: Columns that are no metadata: texts, and `captions` a JSON list of texts.
    """

    path: Path
    own_columns: frozenset[str]

    def names(self) -> list[str]:
        """Return the names of the columns.

        Raises:
            DataError: The file cannot be read, its cells are not separated by commas, or a name
                stands twice or is empty.
        """
        self._refuse_other_separator()
        problems = Problems(str(self.path))
        _, cells = next(self._records(problems), ("", []))
        problems.refuse()
        names = [name.strip() for name in cells]
        if "" in names or len(set(names)) < len(names):
            raise DataError(
                f"{self.path} has the columns {', '.join(map(repr, names))}; give each a name of "
                "its own in the first line"
            )
        return names

    def rows(self, problems: Problems) -> Iterator[Row]:
        """Yield the rows; what cannot be used is a problem.

        Raises:
            DataError: The file cannot be read.
        """
        names = self.names()
        readers = self._readers(names)
        for place, cells in self._rows_of_cells(names, problems):
            try:
                yield Row(
                    place,
                    {
                        name: readers[name](cell) if cell else None
                        for name, cell in zip(names, cells, strict=True)
                    },
                )
            except ValueError as error:
                problems.add_at(place, str(error))

    def _readers(self, names: Sequence[str]) -> Mapping[str, Callable[[str], Any]]:
        """Return how the cells of each column are read."""
        own = {
            name: _list if name in _LISTS else _text for name in names if name in self.own_columns
        }
        columns = {name: _CellForms() for name in names if name not in own}
        # Problems are told when the rows are read.
        unheard = Problems(str(self.path))
        for place, cells in self._rows_of_cells(names, unheard) if columns else ():
            for name, cell in zip(names, cells, strict=True):
                if cell and name in columns:
                    columns[name].look_at(place, cell)
        for name, forms in columns.items():
            if (misfits := forms.misfits()) is not None:
                more = f" and {misfits.count - 1:,} more" if misfits.count > 1 else ""
                warn(
                    f"column {name} is text because of {misfits.first_place}: "
                    f"{misfits.first_cell!r}{more}; leave such cells empty to make it "
                    f"{'true/false' if misfits.form is _BOOLEAN else 'a number'}"
                )
        return own | {name: forms.reader() for name, forms in columns.items()}

    def _rows_of_cells(
        self, names: Sequence[str], problems: Problems
    ) -> Iterator[tuple[str, list[str]]]:
        records = self._records(problems)
        next(records, None)
        for place, cells in records:
            if len(cells) == len(names):
                yield place, cells
            else:
                problems.add_at(place, f"{len(cells)} cells, but the header names {len(names)}")

    def _refuse_other_separator(self) -> None:
        """Refuse a header that has known columns, or several, only with another separator."""
        try:
            with self.path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
                line = file.readline(_LONGEST_HEADER)
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror}") from error
        with_commas = _cells_of(line, ",")
        if self.own_columns & with_commas:
            return
        for separator, name in _OTHER_SEPARATORS.items():
            found = _cells_of(line, separator)
            if len(found) > 1 and (self.own_columns & found or len(with_commas) == 1):
                raise DataError(
                    f"{self.path} seems to have {name} between its cells; a .csv has commas here: "
                    "save it so"
                )

    def _records(self, problems: Problems) -> Iterator[tuple[str, list[str]]]:
        """Yield every record, header included, with the line that it begins in.

        Records that are not UTF-8 are one problem; where the header is, nothing else is read.
        """
        foreign = NotUtf8(self.path)
        try:
            with self.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
                reader = csv.reader(file, strict=True)
                first_line, is_header = 1, True
                try:
                    for cells in reader:
                        place = f"{self.path.name}:{first_line}"
                        first_line = reader.line_num + 1
                        if not all(map(is_unicode, cells)):
                            foreign.add(place)
                            if is_header:
                                break
                        elif cells:
                            yield place, cells
                        is_header = False
                except csv.Error as error:
                    problems.add_at(
                        f"{self.path.name}:{first_line}",
                        f"not CSV from here on ({error}); is a "
                        'quote open? A quote inside of quotes is written ""',
                    )
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror}") from error
        foreign.tell(problems)


@dataclass
class _Misfits:
    """Cells of a column that do not have a form.

    Attributes:
        form: The form.
        count: How many there are.
        first_place: Where the first of them stands.
        first_cell: The first of them.
    """

    form: re.Pattern[str]
    count: int = 0
    first_place: str = ""
    first_cell: str = ""


class _CellForms:
    """Which form all cells of a column have, and which one most of them have."""

    def __init__(self) -> None:
        self._cell_count = 0
        self._misfits = {form: _Misfits(form) for form in (_INTEGER, _NUMBER, _BOOLEAN)}

    def look_at(self, place: str, cell: str) -> None:
        """Take one more cell into account."""
        self._cell_count += 1
        for form, misfits in list(self._misfits.items()):
            if form.fullmatch(cell.strip()):
                continue
            misfits.count += 1
            if misfits.count == 1:
                misfits.first_place, misfits.first_cell = place, cell[:_SHOWN_CELL_LENGTH]
            # A column of codes, or of texts that has some numbers in it, is meant to be text.
            if misfits.count > _MOST_MISFITS or cell.strip().isdecimal():
                del self._misfits[form]

    def reader(self) -> Callable[[str], Any]:
        """Return how the cells are read."""
        fitting = [form for form, misfits in self._misfits.items() if not misfits.count]
        return _READERS[fitting[0]] if fitting else _text

    def misfits(self) -> _Misfits | None:
        """Return the few cells that make the column text; None if it is none, or meant so."""
        if self.reader() is not _text:
            return None
        few = [each for each in self._misfits.values() if 2 * each.count < self._cell_count]
        return min(few, key=lambda each: each.count, default=None)


def _cells_of(line: str, separator: str) -> set[str]:
    try:
        cells = next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return set()
    return {cell.strip() for cell in cells}


def _text(cell: str) -> str:
    return cell


def _boolean(cell: str) -> bool:
    return cell.strip().lower() == "true"


def _list(cell: str) -> list[Any]:
    try:
        return json_list(cell)
    except ValueError as error:
        hint = "" if cell.lstrip().startswith("[") else "; call a column of single texts `caption`"
        raise ValueError(f"`captions` of a .csv is a JSON list of texts: {error}{hint}") from error


_READERS: Mapping[re.Pattern[str], Callable[[str], Any]] = {
    _INTEGER: int,
    _NUMBER: float,
    _BOOLEAN: _boolean,
}
