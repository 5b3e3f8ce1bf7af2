"""Tombstones: rows that were removed. They stay in the vector files until a gallery is compacted.

The file `tombstones` holds their row numbers, ascending, little-endian int64, and nothing else.
"""

from pathlib import Path

import numpy as np

from index_builder.galleries.damaged import damaged
from index_builder.vector_index import AllowedRows, RowNumbers
from model.errors import GalleryIndexError

__all__ = ["live_rows", "read_tombstones", "write_tombstones"]

_ROW = np.dtype("<i8")


def write_tombstones(path: Path, rows: RowNumbers) -> None:
    """Write ascending row numbers; the caller syncs the file to the disk."""
    path.write_bytes(np.ascontiguousarray(rows, dtype=_ROW).tobytes())


def read_tombstones(path: Path, row_count: int) -> RowNumbers:
    """Return the removed rows of a gallery with so many rows, ascending.

    Raises:
        GalleryIndexError: The file is missing, or holds something else.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise damaged(f"{path} is missing") from error
    if len(content) % _ROW.itemsize:
        raise damaged(f"{path} is cut off")
    rows = np.frombuffer(content, dtype=_ROW).astype(np.int64)
    is_ascending = bool((np.diff(rows) > 0).all())
    if len(rows) and not (is_ascending and rows[0] >= 0 and rows[-1] < row_count):
        raise GalleryIndexError(
            f"{path} holds other things than ascending numbers of {row_count} rows; build the "
            "index again"
        )
    return rows


def live_rows(removed: RowNumbers, row_count: int) -> AllowedRows | None:
    """Return (row,), False where a row was removed; None where none was."""
    if not len(removed):
        return None
    live = np.ones(row_count, dtype=np.bool_)
    live[removed] = False
    return live
