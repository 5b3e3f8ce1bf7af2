"""What every vector index is: stored vectors, and the best rows of a query among those allowed.

A score is `float32(float64 dot product)` of the query with the stored vector of a row, whatever the
kind; kinds differ in which rows they look at.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from index_builder.galleries.manifest import IndexKind
from index_builder.vector_index.row_mask import AllowedRows, RowMask, RowNumbers

__all__ = [
    "AllowedRows",
    "FoundRows",
    "RowNumbers",
    "Rows",
    "StoredRows",
    "VectorIndex",
    "exact_scores",
    "rank_rows",
]

Rows = npt.NDArray[np.float32]

_SCORED_AT_ONCE = 4096


class StoredRows(Protocol):
    """Vectors (row, dim) in float32 or float16 that are never copied whole, e.g. `np.memmap`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(row, dim)."""

    def __getitem__(self, rows: Any, /) -> npt.NDArray[Any]:
        """Return the rows of a slice or of an array of row numbers."""


@dataclass(frozen=True)
class FoundRows:
    """The answer to one query: rows and their scores, best first, ties by row.

    Approximate kinds order the first hundred and what comes behind them apart (`reranked.py`).
    """

    rows: RowNumbers
    scores: Rows


class VectorIndex(ABC):
    """Finds the best rows of a query.

    Attributes:
        kind: How it searches.
        dim: Size of a vector.
        count: Number of rows.
        vectors: The stored vectors, which scores are computed with.
    """

    kind: IndexKind

    def __init__(self, vectors: StoredRows) -> None:
        self.vectors = vectors
        self.count, self.dim = (int(size) for size in vectors.shape)

    @property
    @abstractmethod
    def search_parameters(self) -> Mapping[str, int]:
        """What a search is made with, by name."""

    @abstractmethod
    def search(
        self, queries: Rows, wanted_count: int, *, allowed: AllowedRows | RowMask | None = None
    ) -> list[FoundRows]:
        """Return the best `wanted_count` rows (or all, if there are fewer) of each query.

        Args:
            queries: (query, dim), float32, finite; unit length is not required.
            wanted_count: At least 1.
            allowed: (row,), False where a row must not be found; None allows every row. Make a
                `RowMask` of it for many searches: what it costs is paid once.
        """

    @abstractmethod
    def write(self, path: Path) -> None:
        """Write the index to a file; the caller syncs it to the disk."""

    def vectors_of(self, rows: RowNumbers) -> Rows:
        """Return (row, dim), the stored vectors of `rows` in float32."""
        return np.asarray(self.vectors[rows], dtype=np.float32)


def exact_scores(query: Rows, vectors: StoredRows, rows: RowNumbers) -> Rows:
    """Return float32(float64 dot product) of the query with `vectors[rows]`.

    Equal vectors get equal scores whatever stands beside them: every row is summed on its own.
    """
    wide = query.astype(np.float64)
    scores = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), _SCORED_AT_ONCE):
        part = slice(start, start + _SCORED_AT_ONCE)
        scores[part] = (vectors[rows[part]].astype(np.float64) * wide).sum(axis=1)
    return scores


def rank_rows(query: Rows, vectors: StoredRows, rows: RowNumbers, wanted_count: int) -> FoundRows:
    """Return the best of these rows by their exact scores, ties by row."""
    scores = exact_scores(query, vectors, rows)
    order = np.lexsort((rows, -scores))[:wanted_count]
    return FoundRows(rows[order], scores[order])
