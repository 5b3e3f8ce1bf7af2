"""The relevance of a hit: how likely it belongs to its query, told from its score.

A hit belongs to a query if a caption of the index says so: the picture that a caption names, the
captions that name a picture. Nobody has said what else would do as well, so the relevance of a hit
is rather too low than too high where an index holds many of a kind.

Source: Platt, "Probabilistic outputs for support vector machines", 1999 (smoothed labels); fitted
by Newton's method as in Lin, Lin and Weng, "A note on Platt's probabilistic outputs", 2007.
"""

import math

import numpy as np
import numpy.typing as npt
from pydantic import Field

from index_builder.galleries.manifest import Record

__all__ = ["FEWEST_QUERIES", "Relevance", "fit_relevance"]

FEWEST_QUERIES = 100

_STEPS = 100
_RIDGE = 1e-9


class Relevance(Record):
    """Relevance = 1 / (1 + exp(-(slope x score + intercept)))."""

    slope: float = Field(ge=0, description="of a score; never negative: a better hit is no less so")
    intercept: float
    hit_count: int = Field(ge=1, description="first hits of queries that it was fitted to")

    def of(self, score: float) -> float:
        """Return how likely a hit of this score belongs to its query, 0 to 1."""
        return _logistic(self.slope * score + self.intercept)


def fit_relevance(
    scores: npt.NDArray[np.float64], is_own: npt.NDArray[np.bool_], *, query_count: int
) -> Relevance | None:
    """Return the relevance of hits such as these; None where they cannot tell.

    Args:
        scores: (hit,), of the first hits of the queries.
        is_own: (hit,), True where a hit belongs to its query.
        query_count: How many queries found them; fewer than 100 are too few.
    """
    own_count = int(np.count_nonzero(is_own))
    other_count = len(is_own) - own_count
    if query_count < FEWEST_QUERIES or not own_count or not other_count:
        return None
    own_label = (own_count + 1) / (own_count + 2)
    labels = np.where(is_own, own_label, 1 / (other_count + 2))
    centre, spread = float(scores.mean()), float(scores.std()) or 1.0
    features = np.stack([(scores - centre) / spread, np.ones(len(scores))], axis=1)
    slope, constant = _fit_logistic(features, labels)
    if slope <= 0:
        slope, constant = 0.0, math.log(labels.mean() / (1 - labels.mean()))
    return Relevance(
        slope=slope / spread, intercept=constant - slope * centre / spread, hit_count=len(scores)
    )


def _fit_logistic(
    features: npt.NDArray[np.float64], labels: npt.NDArray[np.float64]
) -> tuple[float, float]:
    """Return the weights of two features; labels are probabilities, none of them 0 or 1."""
    share = labels.mean()
    weights = np.array([0.0, math.log(share / (1 - share))])
    loss = _cross_entropy(features @ weights, labels)
    for _ in range(_STEPS):
        expected = 1 / (1 + np.exp(-features @ weights))
        gradient = features.T @ (expected - labels)
        curvature = (features.T * (expected * (1 - expected))) @ features
        step = np.linalg.solve(curvature + _RIDGE * np.eye(2), gradient)
        # Newton's step, halved until it leads down.
        scale = 1.0
        while (found := _cross_entropy(features @ (weights - scale * step), labels)) > loss:
            scale /= 2
            if scale < 1e-10:
                return float(weights[0]), float(weights[1])
        weights = weights - scale * step
        if loss - found < 1e-12 * len(labels):
            break
        loss = found
    return float(weights[0]), float(weights[1])


def _cross_entropy(logits: npt.NDArray[np.float64], labels: npt.NDArray[np.float64]) -> np.float64:
    entropy: np.float64 = (np.logaddexp(0, logits) - labels * logits).sum()
    return entropy


def _logistic(logit: float) -> float:
    # exp must not overflow on either side.
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit))
