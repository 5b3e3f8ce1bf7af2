"""How the images and captions of a batch attend to each other along A, biased by S.

Both mechanisms are made of post-norm transformer encoder layers whose attention is
    softmax(Q K^T / sqrt(d_head) + lambda * S) V, restricted to A, the same bias for all heads.
- Fusion (synchronous): one layer over all 2N nodes at once.
- Standalone (asynchronous): first across the modalities, both from the original embeddings, then
  within each: four layers, or one that all four steps share.

The bias is scaled before it is masked, so lambda = 0 is no NaN; a row without any neighbour gets
an attention output of 0 and goes on by its residual path.

Source: HREM (CVPR 2023), relation interaction; the order of Standalone's steps is the paper's, its
    layers are Fusion's (nothing more is published).
"""

from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from model.encoders.pooling import unit_length
from model.training.relation.blocks import RelationBlocks, Relations

__all__ = ["Fusion", "Mechanism", "RelationAttention", "Standalone"]

Mechanism: TypeAlias = Literal["fusion", "standalone"]


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
        bias: Float[Tensor, "node source"] | None,
    ) -> Float[Tensor, "node dim"]:
        """Return the updated nodes.

        Args:
            nodes: What is updated.
            sources: What is listened to.
            connection: A, True = listens.
            bias: lambda * S, added to the attention scores; None = 0 (without S).

        Differs: the released code scales after masking, which is NaN at lambda = 0.
        """
        has_neighbour = connection.any(dim=1, keepdim=True)
        # A row of -inf alone would be NaN; such a row attends anywhere and is then zeroed.
        scores = nodes.new_zeros(connection.shape) if bias is None else bias
        mask = scores.masked_fill(~connection, -torch.inf).masked_fill(~has_neighbour, 0)
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
        relevance: RelationBlocks | None,
    ) -> tuple[Float[Tensor, "image dim"], Float[Tensor, "caption dim"]]:
        """Return the relation-enhanced images and captions, unit rows.

        Args:
            images: Unit rows.
            captions: Unit rows.
            connection: A.
            relevance: S; None leaves it out.
        """
        nodes = torch.cat([images, captions])
        bias = None if relevance is None else self.relevance_weight * relevance.joined()
        updated = self.layer(nodes, nodes, connection.joined(), bias)
        enhanced = unit_length(updated)
        return enhanced[: len(images)], enhanced[len(images) :]


class Standalone(nn.Module):
    """The asynchronous mechanism: across the modalities first, then within each.

        v1 = B1(v <- u),   u1 = B2(u <- v)         both from the original embeddings
        v' = l2(B3(v1 <- v1)),   u' = l2(B4(u1 <- u1))

    A and S are those of v and u throughout; nothing is normalised in between.

    Args:
        dim: Embedding size.
        head_count: Attention heads.
        dropout: Of the layers.
        relevance_weight: lambda.
        relations: "intra" leaves out B1 and B2, "inter" leaves out B3 and B4.
        is_shared: One layer serves as all of B1..B4.
    """

    def __init__(
        self,
        dim: int,
        *,
        head_count: int,
        dropout: float,
        relevance_weight: float,
        relations: Relations = "all",
        is_shared: bool = False,
    ) -> None:
        super().__init__()
        self.relevance_weight = relevance_weight
        # Steps are named as the blocks of A and S that they read: the updated node comes first.
        steps: list[str] = []
        if relations != "intra":
            steps += ["image_to_text", "text_to_image"]
        if relations != "inter":
            steps += ["image_to_image", "text_to_text"]
        self._layer_of_step = {step: "shared" if is_shared else step for step in steps}
        self.layers = nn.ModuleDict(
            {
                name: RelationAttention(dim, head_count=head_count, dropout=dropout)
                for name in dict.fromkeys(self._layer_of_step.values())
            }
        )

    def forward(
        self,
        images: Float[Tensor, "image dim"],
        captions: Float[Tensor, "caption dim"],
        connection: RelationBlocks,
        relevance: RelationBlocks | None,
    ) -> tuple[Float[Tensor, "image dim"], Float[Tensor, "caption dim"]]:
        """Return the relation-enhanced images and captions, as `Fusion` does."""

        def listen(step: str, nodes: Tensor, sources: Tensor) -> Tensor:
            if step not in self._layer_of_step:
                return nodes
            bias = None
            if relevance is not None:
                bias = self.relevance_weight * getattr(relevance, step)
            layer = self.layers[self._layer_of_step[step]]
            updated: Tensor = layer(nodes, sources, getattr(connection, step), bias)
            return updated

        across_images = listen("image_to_text", images, captions)
        across_captions = listen("text_to_image", captions, images)
        enhanced_images = listen("image_to_image", across_images, across_images)
        enhanced_captions = listen("text_to_text", across_captions, across_captions)
        return unit_length(enhanced_images), unit_length(enhanced_captions)
