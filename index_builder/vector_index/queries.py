"""Queries to tune and measure with; where the caller has none, points between two rows."""

from typing import NamedTuple

import numpy as np

from index_builder.galleries.manifest import IndexKind
from index_builder.vector_index.base import AllowedRows, Rows, StoredRows

__all__ = ["FEWEST_QUERIES", "MIDPOINTS", "TuningQueries", "midpoints", "query_count_for"]

# With fewer, one query more or less found moves the recall by more than a hundredth.
FEWEST_QUERIES = 100
_TUNING_QUERIES = 500
MIDPOINTS = "normalised midpoints of random pairs of rows"


class TuningQueries(NamedTuple):
    """Vectors that are not in the gallery.

    Attributes:
        rows: (query, dim).
        source: What they are, for the manifest.
    """

    rows: Rows
    source: str


def query_count_for(kind: IndexKind) -> int:
    """Return how many queries a kind is measured with; what is exact has nothing to tune."""
    return FEWEST_QUERIES if kind == "exact" else _TUNING_QUERIES


def midpoints(
    vectors: StoredRows, query_count: int, allowed: AllowedRows | None = None
) -> TuningQueries:
    """Return unit vectors half-way between two allowed rows; the same at every call.

    A row as a query would find itself first, in the list and at the node where it lies, and flatter
    every approximate kind. A point between two rows is near the gallery and not in it. Real queries
    of the other kind (captions for images) lie further away and are a harder test: pass them where
    there are any.
    """
    rows = np.arange(int(vectors.shape[0])) if allowed is None else np.flatnonzero(allowed)
    pairs = rows[np.random.default_rng(1).integers(0, len(rows), (2, query_count))]
    first, second = (np.asarray(vectors[ends], dtype=np.float32) for ends in pairs)
    sums = first + second
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    # Opposite rows have no point between them.
    between: Rows = np.where(lengths > 1e-3, sums / np.maximum(lengths, 1e-3), first)
    return TuningQueries(between, MIDPOINTS)
