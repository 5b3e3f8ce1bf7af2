"""Queries to measure with, where the caller has none: points between two rows."""

import numpy as np

from index_builder.vector_index.base import Rows, StoredRows

__all__ = ["MIDPOINTS", "midpoints"]

MIDPOINTS = "normalised midpoints of random pairs of rows"


def midpoints(vectors: StoredRows, query_count: int) -> Rows:
    """Return (query, dim), unit vectors half-way between two rows; the same at every call.

    A row as a query would find itself first, in the list and at the node where it lies, and flatter
    every approximate kind. A point between two rows is near the gallery and not in it. Real queries
    of the other kind (captions for images) lie further away and are a harder test: pass them where
    there are any.
    """
    count = int(vectors.shape[0])
    pairs = np.random.default_rng(1).integers(0, count, (2, query_count))
    first, second = (np.asarray(vectors[rows], dtype=np.float32) for rows in pairs)
    sums = first + second
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    # Opposite rows have no point between them.
    return np.where(lengths > 1e-3, sums / np.maximum(lengths, 1e-3), first)
