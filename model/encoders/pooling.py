"""Pooling of fragments into one vector, blind to padding.

Both means are sums over the fragments; a `_shares` function returns what each fragment adds, which
is what explains a score.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from model.errors import EmptyItemError

__all__ = [
    "fragment_counts",
    "masked_mean",
    "masked_top_k_mean",
    "mean_shares",
    "padding_last",
    "top_k_mean_shares",
    "unit_length",
]


def masked_mean(
    fragments: Float[Tensor, "item fragment dim"], is_padding: Bool[Tensor, "item fragment"]
) -> Float[Tensor, "item dim"]:
    """Return the mean over the real fragments of each item.

    Args:
        fragments: Region or word features, any scale; padded rows may hold anything.
        is_padding: True where a fragment is padding; every item has at least one False.
    """
    kept = fragments.masked_fill(is_padding[:, :, None], 0)
    return kept.sum(dim=1) / (~is_padding).sum(dim=1, keepdim=True)


def mean_shares(
    fragments: Float[Tensor, "item fragment dim"], is_padding: Bool[Tensor, "item fragment"]
) -> Float[Tensor, "item fragment dim"]:
    """Return what each fragment adds to `masked_mean`; zeros for padding."""
    kept = fragments.masked_fill(is_padding[:, :, None], 0)
    return kept / (~is_padding).sum(dim=1)[:, None, None]


def masked_top_k_mean(
    fragments: Float[Tensor, "item fragment dim"],
    is_padding: Bool[Tensor, "item fragment"],
    *,
    k: int,
) -> Float[Tensor, "item dim"]:
    """Return the mean of each dimension's k largest values over the real fragments.

    An item with fewer than k fragments uses all it has, whatever its neighbours in the batch.

    Args:
        fragments: Region or word features, any scale; padded rows may hold anything.
        is_padding: True where a fragment is padding; every item has at least one False.
        k: How many values to average, at least 1.

    Raises:
        EmptyItemError: An item has only padding.

    Source: HREM (CVPR 2023), pooling; the released code's lib/encoders.py.
    Differs: the released code lowers k for every later item once a short one is met.
    """
    largest, _, is_beyond = _largest(fragments, is_padding, k)
    return masked_mean(largest, is_beyond)


def top_k_mean_shares(
    fragments: Float[Tensor, "item fragment dim"],
    is_padding: Bool[Tensor, "item fragment"],
    *,
    k: int,
) -> Float[Tensor, "item fragment dim"]:
    """Return what each fragment adds to `masked_top_k_mean`; zeros for padding.

    Of equal values those count that the mean has taken, never more than k.

    Raises:
        EmptyItemError: An item has only padding.
    """
    largest, places, is_beyond = _largest(fragments, is_padding, k)
    shares = mean_shares(largest, is_beyond)
    return torch.zeros_like(fragments).scatter(1, places, shares)


def fragment_counts(is_padding: Bool[Tensor, "item fragment"]) -> Int[Tensor, "item"]:
    """Return how many fragments of each item are real.

    Raises:
        EmptyItemError: An item has only padding.
    """
    counts = (~is_padding).sum(dim=1)
    if not bool((counts > 0).all()):
        raise EmptyItemError("an item has no fragment; drop items without regions or words")
    return counts


def padding_last(
    fragments: Float[Tensor, "item fragment dim"], is_padding: Bool[Tensor, "item fragment"]
) -> Float[Tensor, "item fragment dim"]:
    """Return fragments whose padding is lower than any value: it comes last where one sorts."""
    return fragments.masked_fill(is_padding[:, :, None], torch.finfo(fragments.dtype).min)


def _largest(
    fragments: Tensor, is_padding: Tensor, k: int
) -> tuple[Float[Tensor, "item k dim"], Int[Tensor, "item k dim"], Bool[Tensor, "item k"]]:
    """Return the k largest values of each dimension, their fragments, and True where too many."""
    lengths = fragment_counts(is_padding)
    largest, places = padding_last(fragments, is_padding).topk(min(k, fragments.shape[1]), dim=1)
    is_beyond = torch.arange(largest.shape[1], device=lengths.device) >= lengths[:, None]
    return largest, places, is_beyond


def unit_length(vectors: Float[Tensor, "*item dim"]) -> Float[Tensor, "*item dim"]:
    """Return x / (norm + 1e-8), along the last axis; a zero row stays zero."""
    return vectors / (vectors.norm(dim=-1, keepdim=True) + 1e-8)
