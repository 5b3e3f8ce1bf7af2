"""Vectors of rows on their way into a gallery, in files, so that memory stays flat.

A vector of each distinct content is written once; a row points to the content it shows. So equal
pictures and equal captions get the same bits, and tie exactly.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from index_builder.vector_index import RowFile, Rows

__all__ = ["RowVectors", "RowVectorsWriter"]

_DISTINCT = "distinct.f32"
_CONTENT_OF_ROW = "rows.i64"


class RowVectors:
    """The float32 vectors of all rows, read from files where they are asked for.

    Attributes:
        shape: (row, dim).
    """

    def __init__(self, distinct: RowFile, content_of_row: npt.NDArray[np.int64]) -> None:
        """Give row r the vector `distinct[content_of_row[r]]`; the latter may be a memory map."""
        self.shape = (len(content_of_row), distinct.shape[1])
        self._distinct = distinct
        self._content_of_row = content_of_row

    def __getitem__(self, rows: slice | npt.NDArray[np.int64]) -> Rows:
        """Return (row, dim) of some rows."""
        vectors: Rows = self._distinct[self._content_of_row[rows]]
        self._distinct.release()
        return vectors


class RowVectorsWriter:
    """Takes contents and rows in their order.

    Args:
        folder: For two files, which `remove` takes away.
        dim: Size of a vector.

    Attributes:
        content_count: Contents so far.
        row_count: Rows so far.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.content_count = 0
        self.row_count = 0
        self._dim = dim
        self._paths = folder / _DISTINCT, folder / _CONTENT_OF_ROW
        self._distinct, self._content_of_row = (path.open("wb") for path in self._paths)

    def add_contents(self, vectors: Rows) -> None:
        """Append the vectors (content, dim) of the next distinct contents."""
        self._distinct.write(np.ascontiguousarray(vectors, dtype="<f4").tobytes())
        self.content_count += len(vectors)

    def add_rows(self, contents: npt.NDArray[np.int64]) -> None:
        """Append rows: (row,), which content each of them shows."""
        self._content_of_row.write(np.ascontiguousarray(contents, dtype="<i8").tobytes())
        self.row_count += len(contents)

    def finish(self) -> RowVectors:
        """Return the vectors of the rows, of which there is at least one."""
        self.close()
        distinct, content_of_row = self._paths
        return RowVectors(
            RowFile(distinct, "<f4", (self.content_count, self._dim)),
            np.memmap(content_of_row, dtype="<i8", mode="r"),
        )

    def close(self) -> None:
        """Close the files; harmless after `finish`."""
        self._distinct.close()
        self._content_of_row.close()

    def remove(self) -> None:
        """Take the files away."""
        self.close()
        for path in self._paths:
            path.unlink(missing_ok=True)
