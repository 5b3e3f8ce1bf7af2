"""Several sentences and pictures as one query: the weighted sum of their embeddings.

`embedding = normalised(sum of weight x unit embedding)`; a negative weight leads away from a part.
Parts that cancel each other out point nowhere, and rounding would decide what they find: refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index_builder.vector_index import Rows
from service.errors import PartsCancelError
from service.pairs.pair import ServedPair
from service.pairs.workers import Workers
from service.searches.queries import CaptionQueries, Embedded, Queries
from service.traffic.admission import Stopwatch

__all__ = ["SHORTEST_SUM", "WeightedParts", "WeightedQuery", "combine"]

SHORTEST_SUM = 1e-6


@dataclass(frozen=True)
class WeightedParts:
    """Parts of one kind, encoded together, and the weight of each."""

    queries: Queries
    weights: Sequence[float]


@dataclass(frozen=True)
class WeightedQuery(Queries):
    """One query of weighted parts.

    Sentences belong into one `CaptionQueries`: equal ones then have equal embeddings to the last
    bit, and cancel each other out exactly.
    """

    parts: Sequence[WeightedParts]

    @property
    def count(self) -> int:
        """How many parts are encoded."""
        return sum(part.queries.count for part in self.parts)

    @property
    def words(self) -> Sequence[str | None]:
        """The sentences that lead towards what they say, as one; None if there is none."""
        leading = [
            sentence
            for part in self.parts
            if isinstance(part.queries, CaptionQueries)
            for sentence, weight in zip(part.queries.captions, part.weights, strict=True)
            if weight > 0
        ]
        return [" ".join(leading) or None]

    async def embed(self, pair: ServedPair, workers: Workers, stopwatch: Stopwatch) -> Embedded:
        """Return the one query, with every warning of its parts once.

        Raises:
            PartsCancelError: The sum is shorter than 1e-6.
            QueryError: A kind of it says why a part cannot be encoded.
        """
        embeddings: list[npt.NDArray[np.float32]] = []
        weights: list[float] = []
        warnings: list[str] = []
        for part in self.parts:
            embedded = await part.queries.embed(pair, workers, stopwatch)
            embeddings += embedded.embeddings
            weights += part.weights
            warnings += [code for codes in embedded.warnings for code in codes]
        combined = combine(np.stack(embeddings), weights)
        return Embedded([combined], [list(dict.fromkeys(warnings))])


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
