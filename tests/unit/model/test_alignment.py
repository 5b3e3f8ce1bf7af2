"""Region-word alignment: what is padding is never looked at, whatever the precision."""

import pytest
import torch

from model.alignment import Alignment, align

REGION_COUNTS, WORD_COUNTS, DIM = (7, 2, 5, 7), (3, 9, 1), 16


def padding(counts: tuple[int, ...]) -> torch.Tensor:
    return torch.arange(max(counts)) >= torch.tensor(counts)[:, None]


@pytest.fixture
def batch() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    region_is_padding, word_is_padding = padding(REGION_COUNTS), padding(WORD_COUNTS)
    regions = torch.randn(*region_is_padding.shape, DIM, generator=generator)
    words = torch.randn(*word_is_padding.shape, DIM, generator=generator)
    return regions, region_is_padding, words, word_is_padding


def maxima(alignment: Alignment) -> list[torch.Tensor]:
    return [alignment.region_maxima, alignment.word_maxima]


@pytest.mark.parametrize("has_transform", [True, False])
def test_what_stands_in_padding_changes_nothing(batch, has_transform):
    regions, region_is_padding, words, word_is_padding = batch
    expected = maxima(align(*batch, has_transform=has_transform))
    soiled = (
        regions.masked_fill(region_is_padding[:, :, None], torch.nan),
        region_is_padding,
        words.masked_fill(word_is_padding[:, :, None], torch.inf),
        word_is_padding,
    )
    for ours, right in zip(
        maxima(align(*soiled, has_transform=has_transform)), expected, strict=True
    ):
        assert torch.equal(ours, right)
    assert not expected[0].transpose(0, 1)[:, region_is_padding].any()
    assert not expected[1].transpose(0, 1)[:, word_is_padding].any()


@pytest.mark.parametrize("has_transform", [True, False])
@pytest.mark.parametrize("chunk_bytes", [None, 1])
def test_a_batch_is_its_pairs_one_by_one_without_padding(batch, has_transform, chunk_bytes):
    regions, _, words, _ = batch
    together = align(*batch, has_transform=has_transform, chunk_bytes=chunk_bytes)
    for image, region_count in enumerate(REGION_COUNTS):
        for caption, word_count in enumerate(WORD_COUNTS):
            alone = align(
                regions[image : image + 1, :region_count],
                torch.zeros(1, region_count, dtype=torch.bool),
                words[caption : caption + 1, :word_count],
                torch.zeros(1, word_count, dtype=torch.bool),
                has_transform=has_transform,
            )
            # Same operations in float32; only the order of the sums differs.
            close = {"atol": 1e-6, "rtol": 1e-5}
            torch.testing.assert_close(
                together.region_maxima[image, caption, :region_count],
                alone.region_maxima[0, 0],
                **close,
            )
            torch.testing.assert_close(
                together.word_maxima[caption, image, :word_count], alone.word_maxima[0, 0], **close
            )


def test_the_plain_maxima_are_the_largest_cosines(batch):
    regions, _, words, _ = batch
    found = align(*batch, has_transform=False)
    for image, region_count in enumerate(REGION_COUNTS):
        for caption, word_count in enumerate(WORD_COUNTS):
            cosine = torch.cosine_similarity(
                regions[image, :region_count, None], words[caption, None, :word_count], dim=2
            )
            torch.testing.assert_close(
                found.region_maxima[image, caption, :region_count], cosine.amax(dim=1)
            )
            torch.testing.assert_close(
                found.word_maxima[caption, image, :word_count], cosine.amax(dim=0)
            )


@pytest.mark.parametrize("is_autocast", [True, False])
def test_bfloat16_fragments_give_float32_maxima_close_to_those_of_float32(batch, is_autocast):
    regions, region_is_padding, words, word_is_padding = batch
    expected = maxima(align(*batch))
    if not is_autocast:
        regions, words = regions.bfloat16(), words.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
        found = maxima(align(regions, region_is_padding, words, word_is_padding))
    for ours, right in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32
        # bfloat16 has 8 bits: a unit row's coordinates and each cosine are off by up to 2^-8.
        torch.testing.assert_close(ours, right, atol=0.03, rtol=0)
        assert not torch.equal(ours, right), "nothing was done in bfloat16"
