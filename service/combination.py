"""Several sentences and pictures as one query: the weighted sum of their embeddings.

`embedding = normalised(sum of weight x unit embedding)`. A negative weight leads away from a part.
Parts that cancel each other out point nowhere; rounding would decide what they find, so they are
refused.
"""

from collections.abc import Sequence

import numpy as np

from index_builder.vector_index import Rows
from service.errors import QueryError

__all__ = ["SHORTEST_SUM", "PartsCancelError", "combine"]

SHORTEST_SUM = 1e-6


class PartsCancelError(QueryError):
    """The weighted parts of a query add up to nothing."""


def combine(embeddings: Rows, weights: Sequence[float]) -> Rows:
    """Return (dim,), float32, of length 1.

    Args:
        embeddings: (part, dim), of any length but zero; each is normalised first.
        weights: Of each part, finite.

    Raises:
        PartsCancelError: The sum is shorter than 1e-6.
    """
    wide = embeddings.astype(np.float64)
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    # The largest weight is taken out first, so that no finite weight overflows.
    largest = max(abs(weight) for weight in weights)
    if largest > 0:
        shares = np.array(weights, dtype=np.float64) / largest
        total = (unit * shares[:, None]).sum(axis=0)
        length = float(np.linalg.norm(total))
        if length * largest >= SHORTEST_SUM:
            return np.asarray(total / length, dtype=np.float32)
    raise PartsCancelError(
        f"the weighted parts add up to less than {SHORTEST_SUM:g}; they cancel each other out, "
        "so give them other weights or leave one out"
    )
