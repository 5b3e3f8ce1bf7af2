"""What a vector index is tuned with: vectors of the other kind, as real queries would be."""

from typing import Protocol

from index_builder.galleries.manifest import GalleryKind, IndexKind
from index_builder.vector_index import FEWEST_QUERIES, Rows, TuningQueries, query_count_for

__all__ = ["VectorSource", "tuning_queries"]


class VectorSource(Protocol):
    """What vectors of the other kind are drawn from."""

    @property
    def kind(self) -> GalleryKind:
        """Images or captions."""

    def sample_vectors(self, wanted_count: int) -> Rows:
        """Return (vector, dim), at most so many, the same at every call."""


def tuning_queries(other: VectorSource | None, index_kind: IndexKind) -> TuningQueries | None:
    """Return vectors of the other kind to tune with; None where there are too few."""
    if other is None:
        return None
    rows = other.sample_vectors(query_count_for(index_kind))
    return None if len(rows) < FEWEST_QUERIES else TuningQueries(rows, f"{other.kind} of the index")
