import pytest
import torch

from model.encoders.image import MaskedBatchNorm, RegionProjection


def ragged(lengths: list[int], dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return regions with huge padding, and where it is."""
    generator = torch.Generator().manual_seed(0)
    regions = torch.randn(len(lengths), max(lengths) + 1, dim, generator=generator)
    is_padding = torch.arange(regions.shape[1]) >= torch.tensor(lengths)[:, None]
    return regions + 1e3 * is_padding[:, :, None], is_padding


@pytest.mark.parametrize("lengths", [[4, 1, 3], [2], [5, 5]])
def test_in_training_padded_regions_change_neither_statistics_nor_real_rows(
    lengths: list[int],
) -> None:
    regions, is_padding = ragged(lengths, dim=6)
    ours, plain = MaskedBatchNorm(6), torch.nn.BatchNorm1d(6)
    found = ours.forward_masked(regions, is_padding)
    expected = plain(torch.cat([rows[:n] for rows, n in zip(regions, lengths, strict=True)]))
    torch.testing.assert_close(found[~is_padding], expected)
    torch.testing.assert_close(ours.running_mean, plain.running_mean)
    torch.testing.assert_close(ours.running_var, plain.running_var)


def test_the_projection_of_a_region_does_not_depend_on_padding() -> None:
    regions, is_padding = ragged([4, 1, 3], dim=6)
    torch.manual_seed(0)
    projection = RegionProjection(6, 8)
    found = projection(regions, is_padding)[~is_padding]
    other = projection(regions.masked_fill(is_padding[:, :, None], 0), is_padding)[~is_padding]
    torch.testing.assert_close(found, other)
