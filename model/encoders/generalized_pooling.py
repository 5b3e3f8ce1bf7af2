"""Generalised pooling: learned weights over the sorted values of each dimension.

    v_d = sum over r of theta(r, n) * (the r-th largest of the n values of dimension d)

theta comes from a small BiGRU that reads the positions 1..n, so one operator covers max, mean and
everything between, for any number of fragments. It is the peer's alternative to this method's
pooling and relation layer.

Source: Chen et al., Learning the Best Pooling Strategy for Visual Semantic Embedding
    (VSE-infinity), CVPR 2021: positions of 32, GRU of 32 a direction, softmax at temperature 0.1.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from model.encoders.pooling import fragment_counts, padding_last

__all__ = ["GeneralizedPooling"]

_POSITION_DIM = 32
_HIDDEN_DIM = 32
_TEMPERATURE = 0.1


class GeneralizedPooling(nn.Module):
    """Pool the fragments of an item by weights that depend on rank and count alone."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(_POSITION_DIM, _HIDDEN_DIM, batch_first=True, bidirectional=True)
        self.score = nn.Linear(_HIDDEN_DIM, 1, bias=False)

    def forward(
        self,
        fragments: Float[Tensor, "item fragment dim"],
        is_padding: Bool[Tensor, "item fragment"],
    ) -> Float[Tensor, "item dim"]:
        """Return the pooled items.

        Args:
            fragments: Projected regions or words; padded rows may hold anything.
            is_padding: True where a fragment is padding; every item has at least one False.

        Raises:
            EmptyItemError: An item has only padding.
        """
        weighted, _ = self._weighted(fragments, is_padding)
        return weighted.sum(dim=1)

    def shares(
        self,
        fragments: Float[Tensor, "item fragment dim"],
        is_padding: Bool[Tensor, "item fragment"],
    ) -> Float[Tensor, "item fragment dim"]:
        """Return what each fragment adds to the pooled item; zeros for padding.

        Raises:
            EmptyItemError: An item has only padding.
        """
        weighted, places = self._weighted(fragments, is_padding)
        return weighted.new_zeros(fragments.shape).scatter(1, places, weighted)

    def _weighted(
        self, fragments: Tensor, is_padding: Tensor
    ) -> tuple[Float[Tensor, "item rank dim"], Int[Tensor, "item rank dim"]]:
        """Return the sorted values times their weights, and the fragments they are of."""
        lengths = fragment_counts(is_padding)
        distinct, place = torch.unique(lengths, return_inverse=True)
        weights = self.weights(distinct)[place]  # (item, rank)
        values, fragment_of = padding_last(fragments, is_padding).sort(dim=1, descending=True)
        ranked, places = values[:, : weights.shape[1]], fragment_of[:, : weights.shape[1]]
        is_real = torch.arange(ranked.shape[1], device=lengths.device) < lengths[:, None]
        return ranked.masked_fill(~is_real[:, :, None], 0) * weights[:, :, None], places

    def weights(self, counts: Int[Tensor, "count"]) -> Float[Tensor, "count rank"]:
        """Return theta for items of so many fragments; rows sum to 1, ranks beyond a count are 0.

        Args:
            counts: Numbers of fragments, at least 1.
        """
        longest = int(counts.max())
        positions = _sinusoids(longest).to(self.score.weight)
        packed = pack_padded_sequence(
            positions.expand(len(counts), -1, -1),
            counts.cpu(),
            batch_first=True,
            enforce_sorted=False,
        )
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        forward, backward = states.chunk(2, dim=2)
        scores = self.score((forward + backward) / 2).squeeze(2) / _TEMPERATURE
        is_beyond = torch.arange(longest, device=scores.device) >= counts[:, None]
        return scores.masked_fill(is_beyond, -torch.inf).softmax(dim=1)


def _sinusoids(count: int) -> Float[Tensor, "position position_dim"]:
    """Return the positional encoding of ranks 0..count-1."""
    pairs = torch.arange(0, _POSITION_DIM, 2, dtype=torch.float32)
    angles = torch.arange(count)[:, None] * torch.exp(-math.log(10000.0) / _POSITION_DIM * pairs)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
