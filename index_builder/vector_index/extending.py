"""Append rows to a vector index: what it learned and every row before stay as they are.

    exact            the float32 vectors are written again, with the new ones behind them
    hnsw, ivf, ...   index.faiss is read whole, the new rows are added, and it is written again

Inverted lists grow long when a gallery does: from four times the rows on that their number is made
for (twice the lists), the lists are learned anew. Nothing is encoded for that.
"""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from index_builder.galleries.manifest import IndexRecord
from index_builder.vector_index.base import AllowedRows, StoredRows, VectorIndex
from index_builder.vector_index.building import BuiltIndex, add_rows, build_vector_index
from index_builder.vector_index.exact import ExactIndex, write_exact
from index_builder.vector_index.faiss_files import read_index, read_mapped, write_index
from index_builder.vector_index.ivf import list_count_for
from index_builder.vector_index.measuring import tuned_record
from index_builder.vector_index.opening import searcher_for
from index_builder.vector_index.queries import TuningQueries
from index_builder.vector_index.stored_rows import write_half_rows
from index_builder.vector_index.threads import use_threads

__all__ = ["extend_vector_index"]

_MORE_LISTS = 2


def extend_vector_index(
    before: VectorIndex,
    record: IndexRecord,
    path_before: Path,
    added: StoredRows,
    *,
    folder: Path,
    queries: TuningQueries | None = None,
    live: AllowedRows | None = None,
) -> BuiltIndex:
    """Write `index.faiss` and `embeddings.f16` with more rows into a folder; return the index.

    Args:
        before: The index to extend; is not changed.
        record: What its manifest says about it.
        path_before: Its `index.faiss`.
        added: (row, dim), unit rows.
        folder: Where the two files are written; the caller syncs them to the disk.
        queries: What to tune and measure with; None takes points between rows.
        live: (row,) over all rows, False where an item was removed; None where none was.

    Raises:
        GalleryIndexError: A file cannot be read or written.
    """
    vectors = _AppendedRows(before.vectors, added)
    path = folder / "index.faiss"
    index: VectorIndex
    if record.kind == "exact":
        write_half_rows(vectors, folder / "embeddings.f16")
        write_exact(vectors, path)
        index = ExactIndex.load(path)
    else:
        grown = read_index(path_before)
        if record.kind == "ivf" and _has_outgrown(grown, vectors.shape[0]):
            return build_vector_index(
                "ivf",
                vectors,
                folder=folder,
                queries=queries,
                target_recall=record.target_recall,
                live=live,
            )
        halves = write_half_rows(vectors, folder / "embeddings.f16")
        use_threads()
        # As they are stored: a row must not differ from one of a gallery that was built at once.
        add_rows(grown, _RowsFrom(halves, before.count))
        write_index(grown, path)
        del grown
        mapped = read_mapped(path)
        index = searcher_for(mapped)(mapped, halves, record.kind)
    tuned = tuned_record(
        index,
        path,
        factory=record.factory,
        target_recall=record.target_recall,
        queries=queries,
        live=live,
    )
    return BuiltIndex(index, tuned)


def _has_outgrown(index: Any, row_count: int) -> bool:
    return list_count_for(row_count) >= _MORE_LISTS * int(faiss.extract_index_ivf(index).nlist)


class _AppendedRows:
    """Rows of two stores, one behind the other.

    Attributes:
        shape: (row, dim).
    """

    def __init__(self, first: StoredRows, second: StoredRows) -> None:
        self.shape = (int(first.shape[0]) + int(second.shape[0]), int(first.shape[1]))
        self._first, self._second = first, second

    def __getitem__(self, rows: Any, /) -> npt.NDArray[Any]:
        """Return the rows of a slice without a step, or of an array of row numbers."""
        border = int(self._first.shape[0])
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(self.shape[0])
            first = self._first[min(start, border) : min(stop, border)]
            second = self._second[max(start - border, 0) : max(stop - border, 0)]
            return np.concatenate([first, second])
        found = np.empty((len(rows), self.shape[1]), dtype=np.float32)
        is_first = rows < border
        found[is_first] = self._first[rows[is_first]]
        found[~is_first] = self._second[rows[~is_first] - border]
        return found


class _RowsFrom:
    """The rows of a store from one of them on; to be read in blocks.

    Attributes:
        shape: (row, dim).
    """

    def __init__(self, vectors: StoredRows, start: int) -> None:
        self.shape = (int(vectors.shape[0]) - start, int(vectors.shape[1]))
        self._vectors, self._start = vectors, start

    def __getitem__(self, rows: Any, /) -> npt.NDArray[Any]:
        """Return the rows of a slice without a step."""
        start, stop, _ = rows.indices(self.shape[0])
        return self._vectors[self._start + start : self._start + stop]
