"""A navigable graph: a search walks from neighbour to neighbour towards the query."""

from functools import cached_property

import faiss

from index_builder.vector_index.base import RowNumbers, Rows
from index_builder.vector_index.reranked import Effort, RerankedIndex
from index_builder.vector_index.row_mask import RowMask
from index_builder.vector_index.threads import use_threads

__all__ = ["HnswIndex"]

# So many candidates are asked for at least, and the walk cannot find more than it goes on from.
_SMALLEST_EFFORT = 100
# A step of the walk costs about as much as comparing so many gathered rows in a product:
# benchmarks.index_kinds --filters, 60,000 x 256: equal between 6,089 and 11,982 allowed rows; this
# says 9,800.
_ROWS_A_STEP = 16


class HnswIndex(RerankedIndex):
    """A FAISS HNSW index; with a filter it walks further, as the allowed rows are thinner."""

    @cached_property
    def effort(self) -> Effort:
        """How many of the rows seen so far the walk goes on from."""
        return Effort("efSearch", min(_SMALLEST_EFFORT, self.count), self.count)

    def _break_even_count(self, row_count: int) -> int:
        return self._thinned(self._parameters[self.effort.name], row_count) * _ROWS_A_STEP

    def propose(
        self, queries: Rows, wanted_count: int, mask: RowMask | None, effort: int
    ) -> RowNumbers:
        """Return the best rows that the walk meets; see the base."""
        parameters = faiss.SearchParametersHNSW(efSearch=min(max(effort, wanted_count), self.count))
        if mask is not None:
            parameters.sel = mask.selector
            parameters.efSearch = self._thinned(parameters.efSearch, mask.count)
        use_threads(len(queries) * parameters.efSearch * _ROWS_A_STEP * self.dim)
        _, rows = self.faiss_index.search(queries, wanted_count, params=parameters)
        return rows

    def _thinned(self, effort: int, row_count: int) -> int:
        return min(self.effort.largest, effort * self.count // max(1, row_count))
