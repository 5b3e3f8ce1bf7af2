"""Relation among the fragments of one item: one post-norm transformer encoder layer."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

__all__ = ["FragmentRelation"]


class FragmentRelation(nn.Module):
    """Let the regions of an image, or the words of a caption, attend to each other.

    Feed-forward width = dim, ReLU, LayerNorm eps 1e-5. The fragments carry no position of their
    own here: order reaches them through the GRU, BERT or the backbone.

    Source: HREM (CVPR 2023), fragment-level relation; the released code's `aggr`.
    """

    def __init__(self, dim: int, *, head_count: int, dropout: float) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            dim, head_count, dim_feedforward=dim, dropout=dropout, batch_first=True
        )

    def forward(
        self,
        fragments: Float[Tensor, "item fragment dim"],
        is_padding: Bool[Tensor, "item fragment"],
    ) -> Float[Tensor, "item fragment dim"]:
        """Return the related fragments; rows of padding hold nothing meaningful.

        Args:
            fragments: Projected fragments.
            is_padding: True = padding, attended by nobody.
        """
        # A float mask takes the same path in train and eval mode; the fused inference path of
        # nn.TransformerEncoderLayer would cut the padded columns off and change shapes.
        mask = torch.zeros_like(is_padding, dtype=fragments.dtype)
        mask = mask.masked_fill(is_padding, float("-inf"))
        return self.layer(fragments, src_key_padding_mask=mask)
