"""Short codes without any structure: all of them are compared with the query."""

import faiss

from index_builder.vector_index.base import RowNumbers, Rows
from index_builder.vector_index.reranked import RerankedIndex
from index_builder.vector_index.row_mask import RowMask
from index_builder.vector_index.threads import use_threads

__all__ = ["CodesIndex"]


class CodesIndex(RerankedIndex):
    """A FAISS index that goes through every code; only re-ranking can be raised."""

    @property
    def effort(self) -> None:
        """None: every code is compared."""
        return

    def _break_even_count(self, row_count: int) -> int:  # noqa: ARG002
        return 0

    def propose(
        self,
        queries: Rows,
        wanted_count: int,
        mask: RowMask | None,
        effort: int,  # noqa: ARG002
    ) -> RowNumbers:
        """Return the best codes; see the base."""
        parameters = None if mask is None else faiss.SearchParameters(sel=mask.selector)
        use_threads(len(queries) * self.count * self.dim)
        _, rows = self.faiss_index.search(queries, wanted_count, params=parameters)
        return rows
