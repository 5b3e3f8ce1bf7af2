"""Hybrid search: one ranking made of that by vectors and that by words.

- Reciprocal rank fusion: a row counts 1 / (60 + rank) in each ranking that holds it, ranks from 1,
  and the sum orders. Nothing has to be tuned, and scores that cannot be compared (a cosine, a
  BM25) are not compared. Equal sums are ordered by score, then by row.
- Only the order is changed. The score stays the cosine with the stored vector; of a row that only
  the words found it is computed.

Source: Cormack, Clarke and Buettcher, Reciprocal Rank Fusion outperforms Condorcet and individual
Rank Learning Methods, SIGIR 2009; the constant 60 is theirs.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from index_builder.vector_index import RowNumbers, Rows
from service.searches.ranking.candidates import CANDIDATE_COUNT, Candidates

__all__ = ["RANK_OFFSET", "distinct_rows", "fuse"]

RANK_OFFSET = 60


def fuse(
    by_vector: Candidates, by_words: RowNumbers, *, score_rows: Callable[[RowNumbers], Rows]
) -> Candidates:
    """Return both rankings as one, at most 1,000 candidates.

    Args:
        by_vector: The ranking by vectors.
        by_words: (row,), the ranking by words, best first, no row twice.
        score_rows: Returns the float32 cosines of rows that only the words found.
    """
    only_by_words = by_words[~np.isin(by_words, by_vector.rows)]
    rows = np.concatenate([by_vector.rows, only_by_words])
    scores = by_vector.scores
    if len(only_by_words):
        scores = np.concatenate([scores, score_rows(only_by_words)])
    sums = _parts_of_rank(rows, by_vector.rows) + _parts_of_rank(rows, by_words)
    order = np.lexsort((rows, -scores, -sums))[:CANDIDATE_COUNT]
    return Candidates(rows[order], scores[order])


def distinct_rows(rows: RowNumbers) -> RowNumbers:
    """Return every row once, where it stood first."""
    _, first = np.unique(rows, return_index=True)
    return rows[np.sort(first)]


def _parts_of_rank(rows: RowNumbers, ranking: RowNumbers) -> npt.NDArray[np.float64]:
    """Return what each of `rows` counts by its rank in `ranking`; 0 where it is not in it."""
    order = np.argsort(ranking)
    place = np.searchsorted(ranking, rows, sorter=order)
    is_ranked = np.isin(rows, ranking)
    parts = np.zeros(len(rows))
    parts[is_ranked] = 1.0 / (RANK_OFFSET + 1 + order[place[is_ranked]])
    return parts
