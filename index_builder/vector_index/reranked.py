"""Kinds that look at a part of the rows: FAISS proposes candidates, exact scores decide.

Candidates are scored in float64 with their float16 vectors of `embeddings.f16` and ordered by
score, then by row. So a score never depends on codes or graphs; only which rows are found does.

- **A page is full** whenever enough rows are allowed: a query with too few candidates is searched
  again with more effort, at last exactly.
- **Pages agree**: the answer to fewer hits is the beginning of the answer to more, up to 1,000.
  What is found with the effort of 100 hits comes first, also where more are asked for; whatever
  more effort finds besides comes behind it.
- **Few allowed rows** are compared one and all: exact and, up to a measured number, faster.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from index_builder.galleries.manifest import IndexKind
from index_builder.vector_index.base import (
    AllowedRows,
    FoundRows,
    RowNumbers,
    Rows,
    StoredRows,
    VectorIndex,
    rank_rows,
)
from index_builder.vector_index.certified import certified_search
from index_builder.vector_index.faiss_files import write_index
from index_builder.vector_index.product import GatheredRows
from index_builder.vector_index.row_mask import RowMask
from index_builder.vector_index.threads import use_blas

__all__ = ["RERANKED_COUNT", "Effort", "RerankedIndex"]

RERANKED_COUNT = "reranked_count"
_PAGE_BOUNDS = (100, 1000)
# Up to so many allowed rows are compared exactly, whatever the kind: well under a millisecond.
_EXACT_COUNT = 2_000
# What a query with too few candidates is tried with again, before it is compared with every row.
_MORE_EFFORT = (1, 4, 16)


@dataclass(frozen=True)
class Effort:
    """The search parameter that trades time for recall: its name as FAISS has it, and its range."""

    name: str
    smallest: int
    largest: int


class RerankedIndex(VectorIndex):
    """An approximate FAISS index beside the float16 vectors it was built from.

    Args:
        index: The FAISS index.
        vectors: The float16 vectors.
        kind: What the manifest calls it.
        parameters: What to search with; what is missing gets the least effort.
    """

    def __init__(
        self,
        index: Any,
        vectors: StoredRows,
        kind: IndexKind,
        parameters: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(vectors)
        self.kind = kind
        use_blas(self.dim)
        self.faiss_index = index
        self._parameters = {RERANKED_COUNT: _PAGE_BOUNDS[0], **dict(parameters or {})}
        if self.effort is not None:
            self._parameters.setdefault(self.effort.name, self.effort.smallest)

    @property
    @abstractmethod
    def effort(self) -> Effort | None:
        """What can be raised to find more; None where every code is looked at."""

    @abstractmethod
    def propose(
        self, queries: Rows, wanted_count: int, mask: RowMask | None, effort: int
    ) -> RowNumbers:
        """Return candidates (query, candidate) among the allowed rows; -1 where there are fewer.

        Args:
            queries: (query, dim).
            wanted_count: Candidates of each query.
            mask: The allowed rows; None allows every row.
            effort: Value of the search parameter `effort`; cut to its range.
        """

    @abstractmethod
    def _break_even_count(self, row_count: int) -> int:
        """Return up to how many allowed rows comparing all of them is no slower than a search.

        Args:
            row_count: The allowed rows of this search.
        """

    @property
    def search_parameters(self) -> Mapping[str, int]:
        """The effort by FAISS's name, and how many candidates up to 100 hits are chosen from."""
        return dict(self._parameters)

    def set_parameters(self, **parameters: int) -> None:
        """Search with other parameters from now on."""
        self._parameters |= parameters

    def search(
        self, queries: Rows, wanted_count: int, *, allowed: AllowedRows | RowMask | None = None
    ) -> list[FoundRows]:
        """Return the best rows that were found; see the base and the top of this file."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        mask = RowMask.of(allowed, self.count)
        row_count = self.count if mask is None else mask.count
        if mask is not None and row_count <= max(_EXACT_COUNT, self._break_even_count(row_count)):
            return self._exactly(queries, wanted_count, mask)
        shallow, deep = _PAGE_BOUNDS
        if not shallow < wanted_count <= deep:
            return self._found(queries, wanted_count, mask)
        first = self._found(queries, shallow, mask)
        more = self._found(queries, wanted_count, mask)
        return [_continued(*both, wanted_count) for both in zip(first, more, strict=True)]

    def _found(self, queries: Rows, wanted_count: int, mask: RowMask | None) -> list[FoundRows]:
        """Return the best rows among the candidates of each query, among all if they are few."""
        row_count = self.count if mask is None else mask.count
        page_bound = min(row_count, _page_bound(wanted_count))
        fetched_count = max(1, -(-page_bound * self._parameters[RERANKED_COUNT] // _PAGE_BOUNDS[0]))
        fetched_count = min(row_count, fetched_count)
        effort = 1 if self.effort is None else self._parameters[self.effort.name]
        found: dict[int, FoundRows] = {}
        short = np.arange(len(queries))
        for more in _MORE_EFFORT:
            candidates = self.propose(queries[short], fetched_count, mask, effort * more)
            is_enough = np.count_nonzero(candidates >= 0, axis=1) >= page_bound
            for place, rows in zip(short[is_enough], candidates[is_enough], strict=True):
                known = rows[rows >= 0]
                found[int(place)] = rank_rows(queries[place], self.vectors, known, wanted_count)
            short = short[~is_enough]
            if not len(short) or self.effort is None:
                break
        if len(short):
            rest = self._exactly(queries[short], wanted_count, mask)
            found |= dict(zip(short.tolist(), rest, strict=True))
        return [found[place] for place in range(len(queries))]

    def write(self, path: Path) -> None:
        """Write the FAISS index; `embeddings.f16` lies beside it already."""
        write_index(self.faiss_index, path)

    def _exactly(self, queries: Rows, wanted_count: int, mask: RowMask | None) -> list[FoundRows]:
        rows = np.arange(self.count) if mask is None else mask.rows
        engine = GatheredRows(self.vectors, rows)
        return certified_search(engine, self.vectors, queries, wanted_count, len(rows))


def _page_bound(wanted_count: int) -> int:
    return next((bound for bound in _PAGE_BOUNDS if wanted_count <= bound), wanted_count)


def _continued(first: FoundRows, more: FoundRows, wanted_count: int) -> FoundRows:
    """Return the rows of `first` and behind them those of `more` that are not among them."""
    is_new = ~np.isin(more.rows, first.rows)
    rows = np.concatenate([first.rows, more.rows[is_new]])[:wanted_count]
    scores = np.concatenate([first.scores, more.scores[is_new]])[:wanted_count]
    return FoundRows(rows, scores)
