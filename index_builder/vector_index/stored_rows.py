"""Vectors in a file: read block after block, or a few rows at a time, never held whole.

A pass over all rows reads the file; only single rows are mapped into memory, and `release` unmaps
what was touched. So the memory of a build does not grow with the gallery.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from index_builder.vector_index.base import RowNumbers, Rows, StoredRows

__all__ = ["RowFile", "blocks_of", "half_rows", "sample_of", "write_half_rows"]

# 64 MB of float32 at 1024-d.
_ROWS_AT_ONCE = 16_384


class RowFile:
    """Rows of one dtype, one after the other, in a file that nobody changes.

    Args:
        path: The file.
        dtype: `<f4` or `<f2`.
        shape: (row, dim).
        offset: Bytes before the first row.
    """

    def __init__(self, path: Path, dtype: str, shape: tuple[int, int], offset: int = 0) -> None:
        self.shape = shape
        self._path = path
        self._dtype = np.dtype(dtype)
        self._offset = offset
        self._mapped = np.memmap(path, dtype=dtype, mode="r", shape=shape, offset=offset)

    def __getitem__(self, rows: Any, /) -> npt.NDArray[Any]:
        """Return a copy of the rows of a slice (read) or of row numbers (mapped)."""
        if not isinstance(rows, slice):
            return np.asarray(self._mapped[rows])
        start, stop, step = rows.indices(self.shape[0])
        if step != 1:
            return np.asarray(self._mapped[rows])
        dim = self.shape[1]
        place = self._offset + start * dim * self._dtype.itemsize
        found = np.fromfile(self._path, self._dtype, max(0, stop - start) * dim, offset=place)
        return found.reshape(-1, dim)

    def release(self) -> None:
        """Unmap the rows that were touched; they are read again when they are asked for again."""
        mapping = self._mapped._mmap  # type: ignore[attr-defined]
        if hasattr(mmap, "MADV_DONTNEED"):
            mapping.madvise(mmap.MADV_DONTNEED)


def half_rows(path: Path, dim: int) -> RowFile:
    """Return the float16 rows in the file at `path`."""
    return RowFile(path, "<f2", (path.stat().st_size // (2 * dim), dim))


def write_half_rows(vectors: StoredRows, path: Path) -> RowFile:
    """Write vectors as float16, row after row, and return them."""
    with path.open("wb") as file:
        for _, block in blocks_of(vectors):
            file.write(np.ascontiguousarray(block, dtype="<f2").tobytes())
    return half_rows(path, int(vectors.shape[1]))


def blocks_of(
    vectors: StoredRows, row_count: int = _ROWS_AT_ONCE
) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Yield the first row number of every block and its rows, in order."""
    for start in range(0, int(vectors.shape[0]), row_count):
        yield start, vectors[start : start + row_count]


def sample_of(vectors: StoredRows, wanted_count: int) -> Rows:
    """Return float32 rows drawn without replacement, in row order; the same at every call."""
    count, dim = (int(size) for size in vectors.shape)
    rows: RowNumbers = np.arange(count)
    if wanted_count < count:
        rows = np.sort(np.random.default_rng(0).choice(count, wanted_count, replace=False))
    sample = np.empty((len(rows), dim), dtype=np.float32)
    for start in range(0, count, _ROWS_AT_ONCE):
        first, last = np.searchsorted(rows, [start, start + _ROWS_AT_ONCE])
        if first < last:
            sample[first:last] = vectors[start : start + _ROWS_AT_ONCE][rows[first:last] - start]
    return sample
