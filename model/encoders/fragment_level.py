"""From projected fragments to an embedding: relation, pooling, unit length."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from model.config import FragmentLevelConfig
from model.encoders.fragment_relation import FragmentRelation
from model.encoders.generalized_pooling import GeneralizedPooling
from model.encoders.pooling import (
    masked_mean,
    masked_top_k_mean,
    mean_shares,
    top_k_mean_shares,
    unit_length,
)

__all__ = ["EncodedItems", "FragmentLevel"]


@dataclass(frozen=True)
class EncodedItems:
    """Encoded images or captions of a batch.

    Attributes:
        embeddings: (item, dim), unit rows; what a gallery stores.
        unnormalized: (item, dim), before unit length.
        fragments: (item, fragment, dim), projected, before the relation layer; what the
            instance level compares.
        is_padding: (item, fragment), True = padding.
    """

    embeddings: Tensor
    unnormalized: Tensor
    fragments: Tensor
    is_padding: Tensor


class FragmentLevel(nn.Module):
    """v = b * top-k mean(projected) + (1 - b) * mean(related), then unit length.

    With b = 1 (`pooling_weight`) there is no relation layer at all: the ablation "without
    fragment level". `pooling = "gpo"` puts VSE-infinity's pooling of the projected fragments in
    the place of both.

    Source: HREM (CVPR 2023), fragment-level aggregation; b = 0.8, k = 2.
    """

    def __init__(self, dim: int, config: FragmentLevelConfig) -> None:
        super().__init__()
        self.pooling_weight = config.pooling_weight
        self.top_k = config.top_k
        is_gpo = config.pooling == "gpo"
        self.generalized = GeneralizedPooling() if is_gpo else None
        self.relation = (
            FragmentRelation(dim, head_count=config.head_count, dropout=config.dropout)
            if config.pooling_weight < 1 and not is_gpo
            else None
        )

    def forward(
        self,
        fragments: Float[Tensor, "item fragment dim"],
        is_padding: Bool[Tensor, "item fragment"],
    ) -> EncodedItems:
        """Return the embeddings of items from their projected fragments."""
        pooled = self._pooled(fragments, is_padding)
        # Under autocast the fragments are bfloat16; what cosines are made of is float32 at least.
        pooled = pooled.to(torch.promote_types(pooled.dtype, torch.float32))
        return EncodedItems(
            embeddings=unit_length(pooled),
            unnormalized=pooled,
            fragments=fragments,
            is_padding=is_padding,
        )

    def shares(
        self,
        fragments: Float[Tensor, "item fragment dim"],
        is_padding: Bool[Tensor, "item fragment"],
    ) -> Float[Tensor, "item fragment dim"]:
        """Return what each fragment adds to its item's embedding; zeros for padding.

        Pooling is additive: summed over the fragments of an item this is `forward`'s `embeddings`.
        What the relation layer passed from one fragment to another counts for the receiver.

        Args:
            fragments: As `forward` takes them; bfloat16 is computed on in float32.
            is_padding: True = padding; every item has at least one False.

        Raises:
            EmptyItemError: An item has only padding.
        """
        kept_dtype = torch.promote_types(fragments.dtype, torch.float32)
        wide = fragments.to(kept_dtype)
        if self.generalized is not None:
            shares: Tensor = self.generalized.shares(wide, is_padding)
        else:
            shares = self.pooling_weight * top_k_mean_shares(wide, is_padding, k=self.top_k)
        if self.relation is not None:
            related = self.relation(fragments, is_padding).to(kept_dtype)
            shares = shares + (1 - self.pooling_weight) * mean_shares(related, is_padding)
        # As `unit_length` divides the sum.
        return shares / (shares.sum(dim=1, keepdim=True).norm(dim=2, keepdim=True) + 1e-8)

    def _pooled(self, fragments: Tensor, is_padding: Tensor) -> Tensor:
        """Return one vector an item, of any length."""
        if self.generalized is not None:
            by_rank: Tensor = self.generalized(fragments, is_padding)
            return by_rank
        pooled = self.pooling_weight * masked_top_k_mean(fragments, is_padding, k=self.top_k)
        if self.relation is None:
            return pooled
        related = self.relation(fragments, is_padding)
        return pooled + (1 - self.pooling_weight) * masked_mean(related, is_padding)
