"""Retrieval metrics: ranks, R@K, rSum. Pure functions of embeddings or similarities.

Ranks are zero-based and ties count against us:
- image -> text: how many captions of other images score at least as high as the image's best
  own caption;
- text -> image: how many other images score at least as high as the right one.

A score is float32(float64 dot product), so that two identical captions tie exactly whatever
engine multiplies, and figures through an index equal figures computed here.

Source: HREM (CVPR 2023), evaluation protocol; VSE++ (BMVC 2018) for the ranks.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from model.ranking import rank_retrieval

__all__ = [
    "RetrievalMetrics",
    "RetrievalReport",
    "evaluate_retrieval",
    "exact_scores",
    "metrics_from_ranks",
    "report_from_ranks",
    "retrieval_ranks",
]


@dataclass(frozen=True)
class RetrievalMetrics:
    """Recalls in percent and one-based ranks of one direction."""

    recall_at_1: float
    recall_at_5: float
    recall_at_10: float
    median_rank: int | float
    mean_rank: float


@dataclass(frozen=True)
class RetrievalReport:
    """Both directions of one data set; rsum is the six recalls added."""

    image_count: int
    caption_count: int
    image_to_text: RetrievalMetrics
    text_to_image: RetrievalMetrics
    rsum: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers for JSON."""
        return asdict(self)


def exact_scores(
    queries: Float[Tensor, "query dim"], items: Float[Tensor, "item dim"]
) -> Float[Tensor, "query item"]:
    """Return float32(float64 dot products), equal for equal rows wherever they stand."""
    return (queries.double() @ items.double().T).float()


def retrieval_ranks(
    similarity: Float[Tensor, "image caption"], caption_image: Int[Tensor, "caption"]
) -> tuple[Int[Tensor, "image"], Int[Tensor, "caption"]]:
    """Return zero-based ranks (image -> text, text -> image).

    Args:
        similarity: Any scores, higher = better.
        caption_image: Row of the image that each caption belongs to; every image has at least
            one caption.
    """
    own_score = similarity[caption_image, torch.arange(len(caption_image))]  # (caption,)
    best_own = torch.full(similarity.shape[:1], -torch.inf, dtype=similarity.dtype)
    best_own = best_own.scatter_reduce(0, caption_image, own_score, "amax")  # (image,)
    # Own captions at or above the best own one are not competitors.
    own_ties = torch.zeros(len(similarity), dtype=torch.long)
    own_ties.index_add_(0, caption_image, (own_score >= best_own[caption_image]).long())
    image_to_text = (similarity >= best_own[:, None]).sum(dim=1) - own_ties
    text_to_image = (similarity >= own_score[None, :]).sum(dim=0) - 1
    return image_to_text, text_to_image


def metrics_from_ranks(ranks: Int[Tensor, "query"]) -> RetrievalMetrics:
    """Return the recalls and rank statistics of zero-based ranks."""
    values = ranks.double()

    def recall(k: int) -> float:
        return float(100 * (ranks < k).double().mean())

    return RetrievalMetrics(
        recall_at_1=recall(1),
        recall_at_5=recall(5),
        recall_at_10=recall(10),
        median_rank=int(values.quantile(0.5).floor()) + 1,
        mean_rank=float(values.mean()) + 1,
    )


def evaluate_retrieval(
    image_embeddings: Float[Tensor, "image dim"],
    caption_embeddings: Float[Tensor, "caption dim"],
    caption_image: Int[Tensor, "caption"],
) -> RetrievalReport:
    """Return R@K both ways and rSum of a data set.

    Args:
        image_embeddings: Unit rows.
        caption_embeddings: Unit rows.
        caption_image: Row of the image that each caption belongs to.
    """
    ranking = rank_retrieval(image_embeddings, caption_embeddings, caption_image)
    return report_from_ranks(ranking.image_to_text, ranking.text_to_image)


def report_from_ranks(
    image_to_text: Int[Tensor, "image"], text_to_image: Int[Tensor, "caption"]
) -> RetrievalReport:
    """Return the report of zero-based ranks of both directions."""
    images = metrics_from_ranks(image_to_text)
    captions = metrics_from_ranks(text_to_image)
    return RetrievalReport(
        image_count=len(image_to_text),
        caption_count=len(text_to_image),
        image_to_text=images,
        text_to_image=captions,
        rsum=sum(
            direction.recall_at_1 + direction.recall_at_5 + direction.recall_at_10
            for direction in (images, captions)
        ),
    )
