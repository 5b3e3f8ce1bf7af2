"""VSE-infinity's pooling: against a loop, blind to padding and to neighbours in the batch."""

import pytest
import torch

from model.encoders.generalized_pooling import GeneralizedPooling
from model.errors import EmptyItemError


@pytest.fixture
def pooling() -> GeneralizedPooling:
    torch.manual_seed(0)
    return GeneralizedPooling().double()


def slow_weights(pooling: GeneralizedPooling, count: int) -> torch.Tensor:
    """theta of one item alone: position by position, the GRU step by step."""
    positions = []
    for rank in range(count):
        pairs = [rank * 10000 ** (-2 * i / 32) for i in range(16)]
        both = [f(torch.tensor(angle)) for angle in pairs for f in (torch.sin, torch.cos)]
        positions.append(torch.stack(both))
    states, _ = pooling.gru(torch.stack(positions).double()[None])
    scores = [pooling.score((row[:32] + row[32:]) / 2) / 0.1 for row in states[0]]
    return torch.cat(scores).softmax(dim=0)


def test_it_is_the_weighted_sum_of_the_sorted_values(pooling: GeneralizedPooling) -> None:
    fragments = torch.randn(3, 6, 4, dtype=torch.float64)
    lengths = [1, 6, 4]
    is_padding = torch.arange(6)[None] >= torch.tensor(lengths)[:, None]
    fragments[is_padding] = 1e6
    pooled = pooling(fragments, is_padding)
    for row, length in enumerate(lengths):
        weights = slow_weights(pooling, length)
        for dim in range(4):
            values = sorted(fragments[row, :length, dim].tolist(), reverse=True)
            expected = sum(w * v for w, v in zip(weights.tolist(), values, strict=True))
            assert pooled[row, dim].item() == pytest.approx(expected, abs=1e-6)


def test_an_item_alone_equals_the_item_in_a_batch(pooling: GeneralizedPooling) -> None:
    fragments = torch.randn(2, 5, 3, dtype=torch.float64)
    is_padding = torch.tensor([[False] * 2 + [True] * 3, [False] * 5])
    alone = pooling(fragments[:1, :2], is_padding[:1, :2])
    torch.testing.assert_close(pooling(fragments, is_padding)[:1], alone)


def test_the_order_of_the_fragments_does_not_matter(pooling: GeneralizedPooling) -> None:
    fragments = torch.randn(1, 5, 3, dtype=torch.float64)
    nothing = torch.zeros(1, 5, dtype=torch.bool)
    torch.testing.assert_close(
        pooling(fragments, nothing), pooling(fragments[:, torch.randperm(5)], nothing)
    )


def test_it_learns(pooling: GeneralizedPooling) -> None:
    fragments = torch.randn(2, 5, 3, dtype=torch.float64)
    pooling(fragments, torch.zeros(2, 5, dtype=torch.bool)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in pooling.parameters())


def test_an_item_of_padding_alone_is_an_error(pooling: GeneralizedPooling) -> None:
    with pytest.raises(EmptyItemError, match="no fragment"):
        pooling(torch.zeros(1, 2, 3).double(), torch.ones(1, 2, dtype=torch.bool))
