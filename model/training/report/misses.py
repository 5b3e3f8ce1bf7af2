"""The hardest misses: the queries whose right answer stands farthest down, and what stood first."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from model.ranking import Hits, Ranking

__all__ = ["Miss", "hardest_caption_misses", "hardest_image_misses"]


@dataclass(frozen=True)
class Miss:
    """A query and two items of the gallery.

    Attributes:
        query: Row of the query.
        wanted: Row of the right answer (of an image: its best own caption).
        wanted_rank: One-based: 1 would be a hit.
        wanted_score: Its cosine with the query.
        first: Row of the best item that is not right.
        first_score: Its cosine with the query.
    """

    query: int
    wanted: int
    wanted_rank: int
    wanted_score: float
    first: int
    first_score: float


def hardest_caption_misses(
    ranking: Ranking, caption_image: Int[Tensor, "caption"], *, count: int
) -> list[Miss]:
    """Return the captions whose image stands farthest down, the worst first.

    Args:
        ranking: With hits.
        caption_image: Row of the image that each caption belongs to.
        count: How many at most; what stands first is never among them.
    """
    misses = [
        _miss(
            query,
            wanted=int(caption_image[query]),
            rank=int(ranking.text_to_image[query]),
            score=float(ranking.own_scores[query]),
            hits=ranking.image_hits,
            own=caption_image[query : query + 1],
        )
        for query in _worst(ranking.text_to_image, count)
    ]
    return [miss for miss in misses if miss is not None]


def hardest_image_misses(
    ranking: Ranking, caption_image: Int[Tensor, "caption"], *, count: int
) -> list[Miss]:
    """Return the images whose best own caption stands farthest down, the worst first.

    Args:
        ranking: With hits.
        caption_image: Row of the image that each caption belongs to.
        count: How many at most; an image whose own caption stands first is never among them.
    """
    misses = []
    for query in _worst(ranking.image_to_text, count):
        own = (caption_image == query).nonzero().flatten()
        wanted = int(own[ranking.own_scores[own].argmax()])
        misses.append(
            _miss(
                query,
                wanted=wanted,
                rank=int(ranking.image_to_text[query]),
                score=float(ranking.own_scores[wanted]),
                hits=ranking.caption_hits,
                own=own,
            )
        )
    return [miss for miss in misses if miss is not None]


def _worst(ranks: Int[Tensor, "query"], count: int) -> list[int]:
    """Return the queries of the highest ranks, the first positions where they tie; no hits."""
    order = ranks.argsort(descending=True, stable=True)[:count]
    return order[ranks[order] > 0].tolist()


def _miss(
    query: int,
    *,
    wanted: int,
    rank: int,
    score: float,
    hits: Hits | None,
    own: Int[Tensor, "own"],
) -> Miss | None:
    """Return the miss with the best hit that is not an own item.

    None if no such hit was kept: own items that tie with it and come before it fill the hits.
    """
    if hits is None:
        raise ValueError("the ranking was made without hits")
    others = (~torch.isin(hits.positions[query], own)).nonzero().flatten()
    if not len(others):
        return None
    place = others[0]
    return Miss(
        query=query,
        wanted=wanted,
        wanted_rank=rank + 1,
        wanted_score=score,
        first=int(hits.positions[query, place]),
        first_score=float(hits.scores[query, place]),
    )
