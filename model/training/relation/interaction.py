"""Fusion: all images and captions of a batch attend to each other along A, biased by S.

One post-norm transformer encoder layer over the 2N nodes:
    softmax(Q K^T / sqrt(d_head) + lambda * S) V, restricted to A, the same bias for all heads.
The bias is scaled before it is masked, so lambda = 0 is no NaN; a row without any neighbour gets
an attention output of 0 and goes on by its residual path.

Source: HREM (CVPR 2023), relation interaction, "Fusion".
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from model.encoders.pooling import unit_length
from model.training.relation.blocks import RelationBlocks

__all__ = ["Fusion", "RelationAttention"]


class RelationAttention(nn.Module):
    """One transformer encoder layer whose attention is restricted by A and biased by S.

    Args:
        dim: Width of the nodes and of the feed-forward layer.
        head_count: Attention heads.
        dropout: Of attention, feed-forward and both residual branches.
    """

    def __init__(self, dim: int, *, head_count: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, head_count, dropout=dropout, batch_first=True)
        self.attention_norm = nn.LayerNorm(dim)
        self.hidden = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        nodes: Float[Tensor, "node dim"],
        sources: Float[Tensor, "source dim"],
        connection: Bool[Tensor, "node source"],
        bias: Float[Tensor, "node source"],
    ) -> Float[Tensor, "node dim"]:
        """Return the updated nodes.

        Args:
            nodes: What is updated.
            sources: What is listened to.
            connection: A, True = listens.
            bias: lambda * S, added to the attention scores.

        Differs: the released code scales after masking, which is NaN at lambda = 0.
        """
        has_neighbour = connection.any(dim=1, keepdim=True)
        # A row of -inf alone would be NaN; such a row attends anywhere and is then zeroed.
        mask = bias.masked_fill(~connection, -torch.inf).masked_fill(~has_neighbour, 0)
        heard, _ = self.attention(nodes, sources, sources, attn_mask=mask, need_weights=False)
        heard = heard.masked_fill(~has_neighbour, 0)
        nodes = self.attention_norm(nodes + self.dropout(heard))
        fed = self.output(self.dropout(self.hidden(nodes).relu()))
        return self.feed_forward_norm(nodes + self.dropout(fed))


class Fusion(nn.Module):
    """The synchronous mechanism: one layer over all nodes with the whole A and S.

    Args:
        dim: Embedding size.
        head_count: Attention heads.
        dropout: Of the layer.
        relevance_weight: lambda, 1.0 on Flickr30K and 1.5 on COCO.
    """

    def __init__(
        self, dim: int, *, head_count: int, dropout: float, relevance_weight: float
    ) -> None:
        super().__init__()
        self.relevance_weight = relevance_weight
        self.layer = RelationAttention(dim, head_count=head_count, dropout=dropout)

    def forward(
        self,
        images: Float[Tensor, "image dim"],
        captions: Float[Tensor, "caption dim"],
        connection: RelationBlocks,
        relevance: RelationBlocks,
    ) -> tuple[Float[Tensor, "image dim"], Float[Tensor, "caption dim"]]:
        """Return the relation-enhanced images and captions, unit rows.

        Args:
            images: Unit rows.
            captions: Unit rows.
            connection: A.
            relevance: S.
        """
        nodes = torch.cat([images, captions])
        bias = self.relevance_weight * relevance.joined()
        updated = self.layer(nodes, nodes, connection.joined(), bias)
        enhanced = unit_length(updated)
        return enhanced[: len(images)], enhanced[len(images) :]
