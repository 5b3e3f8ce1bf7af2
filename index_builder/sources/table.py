"""Which table reads which file."""

from pathlib import Path

from index_builder.sources.csv_table import CsvTable
from index_builder.sources.json_lines import JsonLines
from index_builder.sources.parquet_table import ParquetTable
from index_builder.sources.row import Table

__all__ = ["TABLE_ENDINGS", "open_table"]

TABLE_ENDINGS = (".jsonl", ".csv", ".parquet")


def open_table(path: Path, own_columns: frozenset[str]) -> Table:
    """Return the table in a file that ends in one of `TABLE_ENDINGS`; nothing is read yet.

    Args:
        path: The file.
        own_columns: Columns that are no metadata.
    """
    ending = path.suffix.lower()
    if ending == ".csv":
        return CsvTable(path, own_columns)
    return JsonLines(path) if ending == ".jsonl" else ParquetTable(path)
