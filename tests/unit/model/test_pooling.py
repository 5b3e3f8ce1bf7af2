"""Pooling against loops over the real fragments."""

import pytest
import torch

from model.encoders.pooling import masked_mean, masked_top_k_mean, unit_length
from model.errors import EmptyItemError


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_mean_uses_what_an_item_has_whatever_its_neighbours(k: int) -> None:
    fragments = torch.randn(4, 6, 3) - 5  # all negative: a zero of padding would win
    lengths = [1, 6, 2, 3]
    is_padding = torch.arange(6)[None] >= torch.tensor(lengths)[:, None]
    pooled = masked_top_k_mean(fragments, is_padding, k=k)
    for row, length in enumerate(lengths):
        for dim in range(3):
            largest = sorted(fragments[row, :length, dim].tolist(), reverse=True)[:k]
            assert pooled[row, dim].item() == pytest.approx(sum(largest) / len(largest), abs=1e-5)


def test_padding_may_hold_anything() -> None:
    fragments = torch.randn(2, 4, 3)
    is_padding = torch.tensor([[False, False, True, True], [False] * 4])
    other = fragments.clone()
    other[0, 2:] = 1e6
    assert torch.equal(masked_mean(fragments, is_padding), masked_mean(other, is_padding))
    assert torch.equal(
        masked_top_k_mean(fragments, is_padding, k=3), masked_top_k_mean(other, is_padding, k=3)
    )


def test_an_item_of_padding_alone_is_an_error() -> None:
    with pytest.raises(EmptyItemError, match="no fragment"):
        masked_top_k_mean(torch.zeros(1, 2, 3), torch.ones(1, 2, dtype=torch.bool), k=1)


def test_a_zero_row_stays_zero() -> None:
    assert torch.equal(unit_length(torch.zeros(1, 3)), torch.zeros(1, 3))
