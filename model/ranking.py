"""Ranks of a whole data set, and each query's first hits, from one walk over the images.

- The similarity matrix is never held: a part of some images by all captions is, of at most
  `_PART_ENTRIES` scores, beside the captions in float64.
- A score is float32(float64 dot product), so that two identical captions tie exactly whatever
  engine multiplies.
- Ranks are zero-based and ties count against us; hits of equal score are ordered by position.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["Hits", "Ranking", "rank_retrieval"]

_PART_IMAGES = 512
_PART_ENTRIES = 2**24


@dataclass(frozen=True)
class Hits:
    """The best items of each query, scores not rising; equal scores by position.

    Attributes:
        positions: Rows of the items.
        scores: Their cosines with the query.
    """

    positions: Int[Tensor, "query hit"]
    scores: Float[Tensor, "query hit"]


@dataclass(frozen=True)
class Ranking:
    """Where every right answer of a data set stands.

    Attributes:
        image_to_text: Zero-based rank of each image's best own caption.
        text_to_image: Zero-based rank of each caption's image.
        own_scores: Score of each caption with its own image.
        caption_hits: The captions that stand first for each image; None if not asked for.
        image_hits: The images that stand first for each caption; None if not asked for.
    """

    image_to_text: Int[Tensor, "image"]
    text_to_image: Int[Tensor, "caption"]
    own_scores: Float[Tensor, "caption"]
    caption_hits: Hits | None = None
    image_hits: Hits | None = None


def rank_retrieval(
    image_embeddings: Float[Tensor, "image dim"],
    caption_embeddings: Float[Tensor, "caption dim"],
    caption_image: Int[Tensor, "caption"],
    *,
    hit_count: int = 0,
) -> Ranking:
    """Return the ranks of both directions and, if asked for, the first hits of every query.

    Args:
        image_embeddings: Unit rows.
        caption_embeddings: Unit rows.
        caption_image: Row of the image that each caption belongs to; every image has at least
            one caption.
        hit_count: How many hits to keep of each query; as many as there are where there are fewer.
    """
    image_count, caption_count = len(image_embeddings), len(caption_embeddings)
    part_images = max(1, min(_PART_IMAGES, _PART_ENTRIES // caption_count))
    caption_columns = caption_embeddings.double().T.contiguous()  # (dim, caption)
    parts = [
        slice(start, min(start + part_images, image_count))
        for start in range(0, image_count, part_images)
    ]
    own_of = [
        ((caption_image >= part.start) & (caption_image < part.stop)).nonzero().flatten()
        for part in parts
    ]

    # First each caption's score with its own image, then who reaches it.
    own_scores = torch.empty(caption_count)
    for part, own in zip(parts, own_of, strict=True):
        block = (image_embeddings[part].double() @ caption_columns[:, own]).float()
        own_scores[own] = block[caption_image[own] - part.start, torch.arange(len(own))]
    best_own = torch.full((image_count,), -torch.inf)
    best_own = best_own.scatter_reduce(0, caption_image, own_scores, "amax")

    image_to_text = torch.zeros(image_count, dtype=torch.long)
    text_to_image = torch.zeros(caption_count, dtype=torch.long)
    caption_hits: list[Hits] = []
    image_hits: Hits | None = None
    for part, own in zip(parts, own_of, strict=True):
        scores = (image_embeddings[part].double() @ caption_columns).float()  # (image, caption)
        rows = caption_image[own] - part.start
        reaching = scores >= best_own[part, None]
        image_to_text[part] = _counts(reaching, dim=1)
        image_to_text.index_add_(0, caption_image[own], -reaching[rows, own].long())
        reaching = scores >= own_scores[None, :]
        text_to_image += _counts(reaching, dim=0)
        text_to_image[own] -= reaching[rows, own].long()
        if hit_count:
            caption_hits.append(_first_hits(scores, hit_count))
            found = _first_hits(scores.T.contiguous(), hit_count)
            found = Hits(found.positions + part.start, found.scores)
            image_hits = found if image_hits is None else _merged(image_hits, found, hit_count)
    return Ranking(
        image_to_text,
        text_to_image,
        own_scores,
        _stacked(caption_hits) if caption_hits else None,
        image_hits,
    )


def _counts(is_true: Bool[Tensor, "image caption"], *, dim: int) -> Int[Tensor, "item"]:
    """Return how many are True along `dim`; 32 bits add up four times as fast as 64."""
    return is_true.sum(dim=dim, dtype=torch.int32)


def _first_hits(scores: Float[Tensor, "query item"], count: int) -> Hits:
    """Return the `count` best items of each row; of equal scores the first positions."""
    count = min(count, scores.shape[1])
    values, positions = scores.topk(count, dim=1)
    # topk takes any of the items that tie at its end; those rows are sorted as a whole.
    is_open = _counts(scores >= values[:, -1:], dim=1) > count
    if is_open.any():
        positions[is_open] = scores[is_open].argsort(dim=1, descending=True, stable=True)[:, :count]
    positions = positions.sort(dim=1).values
    return _in_order(scores.gather(1, positions), positions, count)


def _merged(earlier: Hits, later: Hits, count: int) -> Hits:
    """Return the best of both; every position of `earlier` is lower than those of `later`."""
    return _in_order(
        torch.cat([earlier.scores, later.scores], dim=1),
        torch.cat([earlier.positions, later.positions], dim=1),
        count,
    )


def _in_order(scores: Tensor, positions: Tensor, count: int) -> Hits:
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    return Hits(positions.gather(1, order)[:, :count], scores[:, :count])


def _stacked(parts: list[Hits]) -> Hits:
    return Hits(
        torch.cat([part.positions for part in parts]), torch.cat([part.scores for part in parts])
    )
