"""Miners choose negatives; losses score them.

Distance-weighted sampling draws negatives evenly over distance instead of from the crowd at
sqrt(2): the weight of a negative at distance d is the inverse of the density of distances between
random points of a (D - 1)-sphere. With D = 512 that is, in effect, hardest-negative mining,
uniform among negatives with cosine > 0.875 (distance < 0.5).

- An anchor without any valid negative is skipped alone.
- The softmax runs over the valid negatives, so one beyond the cut-off cannot underflow the rest.

Source: Wu et al., Sampling Matters in Deep Embedding Learning, ICCV 2017; HREM (CVPR 2023).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["distance_weighted_probabilities", "draw_negatives", "positive_pairs"]

_DENSITY_DIM = 512
_NEAREST = 0.5


def positive_pairs(
    image_ids: Int[Tensor, "item"],
) -> tuple[Int[Tensor, "pair"], Int[Tensor, "pair"]]:
    """Return (anchor rows, positive rows) of every pair of items of the same image."""
    anchors, positives = (image_ids[:, None] == image_ids[None, :]).nonzero(as_tuple=True)
    return anchors, positives


@torch.no_grad()
def distance_weighted_probabilities(
    cosine: Float[Tensor, "anchor item"],
    image_ids: Int[Tensor, "item"],
    *,
    cutoff: float,
) -> Float[Tensor, "anchor item"]:
    """Return the probability of each item to be drawn as the negative of each anchor.

    Args:
        cosine: Of unit rows; anchor i and item i belong to the same image.
        image_ids: Items of the same image are no negatives.
        cutoff: Distance from which on an item is too easy to matter.

    Returns:
        Rows that sum to 1, or all zeros where an anchor has no valid negative.

    Differs: in the released code one anchor without a valid negative turns the loss of its whole
        direction to zero, and negatives beyond the cut-off can underflow the valid ones.
    """
    distance = (2 - 2 * cosine).clamp(min=0).sqrt()
    is_negative = (image_ids[:, None] != image_ids[None, :]) & (distance < cutoff)
    near = distance.clamp(min=_NEAREST)
    # Beyond the cut-off the second logarithm may be undefined; those entries are masked.
    shape = (1 - near.square() / 4).clamp(min=1e-8)
    log_weight = (2 - _DENSITY_DIM) * near.log() - (_DENSITY_DIM - 3) / 2 * shape.log()
    log_weight = log_weight.masked_fill(~is_negative, -torch.inf)
    return log_weight.softmax(dim=1).masked_fill(~is_negative.any(dim=1, keepdim=True), 0)


def draw_negatives(
    probabilities: Float[Tensor, "anchor item"],
    anchors: Int[Tensor, "pair"],
    generator: torch.Generator | None = None,
) -> tuple[Int[Tensor, "pair"], Float[Tensor, "pair"]]:
    """Return one negative for each pair, and 1.0 where there is one (0.0: skip the pair).

    Args:
        probabilities: Of `distance_weighted_probabilities`.
        anchors: Row of each pair's anchor.
        generator: Source of randomness.
    """
    rows = probabilities[anchors]
    is_valid = rows.sum(dim=1) > 0
    # multinomial refuses a row of zeros; what it draws for such a row is not used.
    drawable = torch.where(is_valid[:, None], rows, torch.ones_like(rows))
    return drawable.multinomial(1, generator=generator).squeeze(1), is_valid.to(rows.dtype)
