"""How well an index searches, measured against brute force that shares no code with it."""

import numpy as np
import numpy.typing as npt

from index_builder.vector_index import ExactIndex, Rows

__all__ = ["recall_at_10"]

_CUTOFF = 10
_ROWS_AT_ONCE = 65_536


def recall_at_10(index: ExactIndex, queries: Rows) -> float:
    """Return the share of the true ten nearest rows that the index finds, 0..1.

    A found row counts when its score, rounded to float32 as hits show it, is at least that of the
    true tenth: among ties any row is right.
    """
    cutoff = min(_CUTOFF, index.count)
    tenth = _tenth_best_scores(index.vectors, queries, cutoff).astype(np.float32)
    # Two orders of summation in float64 may round to neighbouring float32 numbers.
    thresholds = np.nextafter(tenth, np.float32(-np.inf))
    right_count = 0
    found = index.search(queries, cutoff)
    for query, answer, threshold in zip(queries, found, thresholds, strict=True):
        scores = index.vectors[answer.rows].astype(np.float64) @ query.astype(np.float64)
        right_count += int(np.count_nonzero(scores.astype(np.float32) >= threshold))
    return right_count / (len(queries) * cutoff)


def _tenth_best_scores(vectors: Rows, queries: Rows, cutoff: int) -> npt.NDArray[np.float64]:
    best = np.full((len(queries), cutoff), -np.inf)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        block = vectors[start : start + _ROWS_AT_ONCE].astype(np.float64)
        scores = np.concatenate([best, queries.astype(np.float64) @ block.T], axis=1)
        best = np.partition(scores, -cutoff, axis=1)[:, -cutoff:]
    tenth: npt.NDArray[np.float64] = best.min(axis=1)
    return tenth
