"""Brute force made exact to the last bit, whoever computes the float32 products.

- Engines add float32 products in an order of their own choosing, so scores differ in the last
  digits with the batch size. The best rows of an engine, a few more than asked, are scored again:
  `score = float32(float64 dot product)`, ties by row. This is what brute force gives.
- A row that the engine left out could still belong to the answer, when its score lies within the
  rounding of float32; then all rows within that bound are fetched.

Source: the bound is the textbook one for a dot product summed in any order, d * u * |x| * |y|
(Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), u = 2^-24.
"""

from typing import Protocol

import numpy as np

from index_builder.vector_index.base import FoundRows, RowNumbers, Rows, StoredRows, rank_rows

__all__ = ["Engine", "certified_search"]

_UNIT_ROUNDOFF = 2.0**-24
_SPARE_COUNT = 8


class Engine(Protocol):
    """Whoever compares a query with every allowed row in float32."""

    def best(self, queries: Rows, wanted_count: int) -> tuple[Rows, RowNumbers]:
        """Return float32 scores and row numbers (query, hit), best first; -inf, -1 at the end."""

    def at_least(self, query: Rows, threshold: float) -> RowNumbers:
        """Return the rows whose float32 score reaches the threshold."""


def certified_search(
    engine: Engine, vectors: StoredRows, queries: Rows, wanted_count: int, row_count: int
) -> list[FoundRows]:
    """Return the best `wanted_count` rows (or all, if there are fewer) of each query.

    Args:
        engine: Compares with every allowed row.
        vectors: The stored vectors of all rows, of length 1 (to 1e-3).
        queries: (query, dim).
        wanted_count: At least 1.
        row_count: How many rows are allowed.
    """
    wanted_count = min(wanted_count, row_count)
    if wanted_count == 0:
        nothing = FoundRows(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
        return [nothing] * len(queries)
    fetched_count = min(row_count, wanted_count + max(_SPARE_COUNT, wanted_count // 8))
    rough_scores, rows = engine.best(queries, fetched_count)
    found: list[FoundRows] = []
    for place, query in enumerate(queries):
        answer = rank_rows(query, vectors, rows[place], wanted_count)
        slack = (queries.shape[1] + 8) * _UNIT_ROUNDOFF * float(np.linalg.norm(query)) * 1.001
        threshold = float(answer.scores[-1]) - slack
        if fetched_count < row_count and rough_scores[place, -1] >= threshold:
            close_rows = engine.at_least(query, threshold - slack)
            answer = rank_rows(query, vectors, close_rows, wanted_count)
        found.append(answer)
    return found
