"""Matching losses, in both directions: a triplet hinge on the cosine, or a softmax over the batch.

Three ways to choose the negatives:
- distance_weighted: one drawn negative for every positive pair (the paper's);
- all_violations: the sum over all negatives; the way to begin from random weights, where the
  hardest negative alone collapses the space;
- hardest_negative: the worst one of each row (VSE++).
And one without a margin, in which all negatives of the batch compete:
- contrastive: the softmax cross entropy of cosines over a temperature (InfoNCE).

Source: HREM (CVPR 2023); Faghri et al., VSE++, BMVC 2018; van den Oord et al., Representation
    Learning with Contrastive Predictive Coding, 2018.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from model.training.miners import (
    distance_weighted_probabilities,
    draw_negatives,
    positive_pairs,
)

__all__ = [
    "LossKind",
    "all_violations_loss",
    "contrastive_loss",
    "distance_weighted_loss",
    "hardest_negative_loss",
    "hinge",
    "matching_loss",
]

LossKind = Literal["distance_weighted", "all_violations", "hardest_negative", "contrastive"]


def matching_loss(
    images: Float[Tensor, "item dim"],
    captions: Float[Tensor, "item dim"],
    image_ids: Int[Tensor, "item"],
    *,
    kind: LossKind,
    margin: float,
    cutoff: float,
    temperature: float = 0.05,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """Return L(v, u), summed over pairs and directions.

    Args:
        images: Unit rows; row i belongs to caption i.
        captions: Unit rows.
        image_ids: Equal ids are never each other's negatives.
        kind: How negatives are chosen.
        margin: Of the hinge, on the cosine.
        cutoff: Distance from which on negatives are not drawn (distance_weighted only).
        temperature: Divides the cosines (contrastive only).
        generator: Source of randomness (distance_weighted only).
    """
    cosine = images @ captions.T  # (image, caption)
    if kind == "all_violations":
        return all_violations_loss(cosine, image_ids, margin=margin)
    if kind == "contrastive":
        return contrastive_loss(cosine, image_ids, temperature=temperature)
    if kind == "hardest_negative":
        return hardest_negative_loss(cosine, image_ids, margin=margin)
    return distance_weighted_loss(
        cosine, image_ids, margin=margin, cutoff=cutoff, generator=generator
    )


def distance_weighted_loss(
    cosine: Float[Tensor, "item item"],
    image_ids: Int[Tensor, "item"],
    *,
    margin: float,
    cutoff: float,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """Return the hinge of one drawn negative for every positive pair, both directions."""
    anchors, positives = positive_pairs(image_ids)
    total = cosine.new_zeros(())
    # Images are the anchors of image -> text; captions, of the transposed matrix.
    for scores in (cosine, cosine.T):
        probabilities = distance_weighted_probabilities(scores.detach(), image_ids, cutoff=cutoff)
        negatives, is_valid = draw_negatives(probabilities, anchors, generator)
        total = (
            total + (is_valid * hinge(scores, anchors, positives, negatives, margin=margin)).sum()
        )
    return total


def hinge(
    scores: Float[Tensor, "anchor item"],
    anchors: Int[Tensor, "pair"],
    positives: Int[Tensor, "pair"],
    negatives: Int[Tensor, "pair"],
    *,
    margin: float,
) -> Float[Tensor, "pair"]:
    """Return max(0, margin + s(a, n) - s(a, p)) of each triplet."""
    return (margin + scores[anchors, negatives] - scores[anchors, positives]).clamp(min=0)


def all_violations_loss(
    cosine: Float[Tensor, "item item"], image_ids: Int[Tensor, "item"], *, margin: float
) -> Float[Tensor, ""]:
    """Return the hinge summed over all negatives of both directions."""
    to_text, to_image = _violations(cosine, image_ids, margin=margin)
    return to_text.sum() + to_image.sum()


def hardest_negative_loss(
    cosine: Float[Tensor, "item item"], image_ids: Int[Tensor, "item"], *, margin: float
) -> Float[Tensor, ""]:
    """Return the hinge of each anchor's worst negative, both directions."""
    to_text, to_image = _violations(cosine, image_ids, margin=margin)
    return to_text.amax(dim=1).sum() + to_image.amax(dim=0).sum()


def contrastive_loss(
    cosine: Float[Tensor, "item item"], image_ids: Int[Tensor, "item"], *, temperature: float
) -> Float[Tensor, ""]:
    """Return -ln of each pair's share of the softmax over its row and over its column, summed.

    Other items of the same image take no part in either softmax.
    """
    is_other_positive = image_ids[:, None] == image_ids[None, :]
    is_other_positive.fill_diagonal_(False)
    logits = (cosine / temperature).masked_fill(is_other_positive, -torch.inf)
    own = torch.arange(len(cosine), device=cosine.device)
    return functional.cross_entropy(logits, own, reduction="sum") + functional.cross_entropy(
        logits.T, own, reduction="sum"
    )


def _violations(cosine: Tensor, image_ids: Tensor, *, margin: float) -> tuple[Tensor, Tensor]:
    """Return each negative's hinge: (image, caption) for image anchors, and for caption anchors."""
    same_image = image_ids[:, None] == image_ids[None, :]
    matched = cosine.diagonal()
    to_text = (margin + cosine - matched[:, None]).clamp(min=0).masked_fill(same_image, 0)
    to_image = (margin + cosine - matched[None, :]).clamp(min=0).masked_fill(same_image, 0)
    return to_text, to_image
