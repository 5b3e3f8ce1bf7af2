"""`.parquet`: read by pyarrow in batches of rows; pyarrow is an optional package.

Types are those of the file: dates and times become ISO texts, decimals numbers, a NaN a missing
value. Lists stay lists.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index_builder.sources.problems import Problems
from index_builder.sources.row import Row
from model.errors import DataError

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

__all__ = ["ParquetTable"]

_ROWS_AT_ONCE = 1024
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class ParquetTable:
    """The rows of a `.parquet` file.

    Attributes:
        path: The file.
    """

    path: Path

    def names(self) -> list[str]:
        """Return the names of the columns.

        Raises:
            DataError: The file cannot be read, or pyarrow is not installed.
        """
        with self._opened() as file:
            return list(file.schema_arrow.names)

    def rows(self, problems: Problems) -> Iterator[Row]:
        """Yield the rows; what cannot be used is a problem.

        Raises:
            DataError: The file cannot be read, a column holds bytes, or pyarrow is not installed.
        """
        number = 0
        with self._opened() as file:
            schema = self._readable_schema(file.schema_arrow)
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                for values in batch.cast(schema, safe=False).to_pylist():
                    number += 1
                    place = f"{self.path.name} row {number}"
                    try:
                        yield Row(place, {name: _as_json(v) for name, v in values.items()})
                    except ValueError as error:
                        problems.add_at(place, str(error))

    def _readable_schema(self, schema: "pyarrow.Schema") -> "pyarrow.Schema":
        import pyarrow

        if len(set(schema.names)) < len(schema.names):
            raise DataError(f"{self.path} has two columns of one name: {', '.join(schema.names)}")
        readable = []
        for field in schema:
            kind = _readable_type(field.type)
            if kind is None:
                raise DataError(
                    f"{self.path}: column `{field.name}` holds {field.type}; expected texts, "
                    "numbers, true/false, dates, or lists of them; leave the column out"
                )
            readable.append(field.with_type(kind))
        return pyarrow.schema(readable)

    @contextmanager
    def _opened(self) -> Iterator["pyarrow.parquet.ParquetFile"]:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise DataError(
                f"reading {self.path.name} needs pyarrow, which is not installed; "
                "install it with: pip install 'hrem-search[parquet]'"
            ) from error
        try:
            # Without its own read-ahead pyarrow holds a batch, not a row group of all columns.
            with pyarrow.parquet.ParquetFile(
                self.path, buffer_size=_READ_BYTES, pre_buffer=False
            ) as file:
                yield file
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{self.path} cannot be read as Parquet: {first_line}") from error


def _readable_type(kind: "pyarrow.DataType") -> "pyarrow.DataType | None":
    """Return the type whose values Python and JSON can hold; None where there is none."""
    import pyarrow
    from pyarrow import types

    if types.is_timestamp(kind):
        # Python's times end at microseconds.
        return pyarrow.timestamp("us", tz=kind.tz)
    if types.is_dictionary(kind):
        return _readable_type(kind.value_type)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        element = _readable_type(kind.value_type)
        return None if element is None else pyarrow.list_(element)
    if types.is_struct(kind):
        members = {field.name: _readable_type(field.type) for field in kind}
        return None if None in members.values() else pyarrow.struct(members)
    is_readable = (
        types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_date(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_null(kind)
    )
    return kind if is_readable else None


def _as_json(value: Any) -> Any:
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, Decimal):
        return _finite(float(value))
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, list):
        return [_as_json(element) for element in value]
    if isinstance(value, dict):
        return {name: _as_json(element) for name, element in value.items()}
    return value


def _finite(value: float) -> float | None:
    if math.isinf(value):
        raise ValueError("infinity is no JSON number")
    return None if math.isnan(value) else value
