from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from model.data.scan import load_scan
from model.training.augmentation import AugmentationConfig, changed_words, dropped_regions
from model.training.batches import (
    Batch,
    BatchMaker,
    TokenizedCaptions,
    prefetched,
)
from model.training.samplers import Pairs
from model.training.stored_images import StoredImages, StoredPictures, StoredRegions
from tests.unit.data.layouts import captions_for, made_up_regions, write_scan

START, END, MASK, PAD = 1, 2, 3, 0
CAPTIONS = [[START, *range(10, 10 + n), END] for n in (3, 9, 1, 6, 40)]
IS_SPECIAL = np.isin(np.arange(60), (START, END, MASK, PAD))


def pairs(count: int = 5, epoch: int = 0) -> Pairs:
    places = np.arange(count)
    return Pairs(epoch, places, places)


def rows_of(lists: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return TokenizedCaptions(lists).rows(np.arange(len(lists)))


def change(lists: list[list[int]], probability: float, **pairs_of: int):
    ids, lengths = rows_of(lists)
    ids, lengths = changed_words(
        ids,
        lengths,
        pairs(len(lists), **pairs_of),
        probability=probability,
        seed=0,
        mask_id=MASK,
        is_special=IS_SPECIAL,
    )
    return [row[:length].tolist() for row, length in zip(ids, lengths, strict=True)]


def test_tokenized_captions_come_back_as_they_were() -> None:
    stored = TokenizedCaptions(CAPTIONS)
    ids, lengths = stored.rows(np.array([4, 0, 2]))
    assert [row[:n].tolist() for row, n in zip(ids, lengths, strict=True)] == [
        CAPTIONS[4],
        CAPTIONS[0],
        CAPTIONS[2],
    ]


def test_no_word_changes_at_probability_zero() -> None:
    assert change(CAPTIONS, 0.0) == CAPTIONS


def test_marks_are_never_touched_and_kept_words_stay_in_order() -> None:
    for row, before in zip(change(CAPTIONS, 0.9), CAPTIONS, strict=True):
        assert row[0] == START and row[-1] == END
        assert len(row) <= len(before)
        assert all(word not in (START, END, PAD) for word in row[1:-1])
        # Few words are replaced by others at random, so those that were there keep their order.
        kept = [word for word in row[1:-1] if word in before]
        assert sum(a < b for a, b in pairwise(kept)) >= len(kept) - 4


def test_words_are_masked_replaced_and_dropped_in_the_shares_of_the_paper() -> None:
    many = [[START, *[30] * 50, END]] * 200
    changed = change(many, 0.2)
    flat = [word for row in changed for word in row[1:-1]]
    total = 200 * 50
    masked, kept = flat.count(MASK), flat.count(30)
    dropped, replaced = total - len(flat), len(flat) - flat.count(MASK) - kept
    for count, share in ((masked, 0.1), (replaced, 0.02), (dropped, 0.08)):
        assert abs(count / total - share) < 0.012


def test_another_pass_changes_other_words() -> None:
    assert change(CAPTIONS, 0.5) != change(CAPTIONS, 0.5, epoch=1)


def test_a_caption_without_marks_keeps_a_word() -> None:
    assert all(change([[30]] * 50, 0.99))


@pytest.mark.parametrize("region_count", [1, 2, 25])
def test_every_picture_keeps_a_region(region_count: int) -> None:
    is_dropped = dropped_regions(pairs(300), region_count, probability=0.95, seed=0)
    assert not is_dropped.all(axis=1).any()


def test_padding_is_always_dropped_and_a_real_region_always_kept() -> None:
    counts = np.arange(300) % 6 + 1
    is_padding = np.arange(6) >= counts[:, None]
    drawn = {"probability": 0.95, "seed": 0}
    is_dropped = dropped_regions(pairs(300), 6, **drawn, is_padding=is_padding)
    assert is_dropped[is_padding].all()
    assert not is_dropped.all(axis=1).any()
    # Without padding nothing changes.
    whole = dropped_regions(pairs(300), 6, **drawn, is_padding=np.zeros_like(is_padding))
    np.testing.assert_array_equal(whole, dropped_regions(pairs(300), 6, **drawn))


def test_regions_are_dropped_with_the_given_probability() -> None:
    is_dropped = dropped_regions(pairs(500), 36, probability=0.2, seed=0)
    assert abs(is_dropped.mean() - 0.2) < 0.01


def maker(images: StoredImages, **varied: float) -> BatchMaker:
    return BatchMaker(
        images,
        TokenizedCaptions(CAPTIONS),
        region_count=4,
        augmentation=AugmentationConfig(**varied),
        seed=0,
        mask_id=MASK,
        pad_id=PAD,
        is_special=IS_SPECIAL,
    )


def test_a_batch_holds_the_rows_of_its_pairs() -> None:
    features = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float16)
    chosen = Pairs(0, np.array([3, 1]), np.array([3, 1]))
    batch = maker(StoredPictures(features), word_change=0.0).batch(chosen)
    np.testing.assert_array_equal(batch.image_values.numpy(), features[[3, 1]])
    assert batch.image_ids.tolist() == [3, 1]
    for row, is_padding, place in zip(batch.token_ids, batch.is_word_padding, (3, 1), strict=True):
        assert row[~is_padding].tolist() == CAPTIONS[place]
        assert (row[is_padding] == PAD).all()


def test_a_batch_of_regions_holds_their_rows_and_ignores_their_padding(tmp_path: Path) -> None:
    regions = made_up_regions(5)
    folder = write_scan(tmp_path, "test", regions, captions_for(5, 1), counts=[4, 3, 2, 1, 4])
    images = load_scan(folder).regions
    assert images is not None
    chosen = Pairs(0, np.array([3, 1]), np.array([3, 1]))
    kept = maker(StoredRegions(images), region_drop=0.0).batch(chosen)
    assert kept.is_dropped.tolist() == [[False, True, True, True], [False, False, False, True]]
    np.testing.assert_array_equal(kept.image_values.numpy()[0, 0], regions[3, 0])
    assert not kept.image_values[kept.is_dropped].any()
    means = StoredRegions(images).read(np.array([1])).means()
    np.testing.assert_allclose(means.numpy()[0], regions[1, :3].mean(axis=0), rtol=1e-6)
    dropped = maker(StoredRegions(images), region_drop=0.9).batch(chosen)
    assert (dropped.is_dropped | ~kept.is_dropped).all()
    assert not dropped.is_dropped.all(dim=1).any()


def test_mirrored_pixels_are_turned_and_mirrored_features_are_read() -> None:
    pixels = np.arange(5 * 3 * 2 * 2, dtype=np.uint8).reshape(5, 3, 2, 2)
    turned = maker(StoredPictures(pixels), mirror=1.0).batch(pairs()).image_values
    np.testing.assert_array_equal(turned.numpy(), pixels[..., ::-1])
    plain, other = np.zeros((5, 4, 3), np.float16), np.ones((5, 4, 3), np.float16)
    read = maker(StoredPictures(plain, other), mirror=0.5).batch(pairs()).image_values
    assert 0 < float(read.float().mean()) < 1


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_prefetching_changes_nothing_and_passes_errors_on(workers: int) -> None:
    make = maker(StoredPictures(np.zeros((5, 4, 3), np.float16)))
    direct = [make.batch(pairs(epoch=step)) for step in range(6)]
    ahead = list(prefetched(lambda step: make.batch(pairs(epoch=step)), range(6), workers=workers))
    assert [step for step, _ in ahead] == list(range(6))
    for (_, fetched), expected in zip(ahead, direct, strict=True):
        assert torch.equal(fetched.token_ids, expected.token_ids)
        assert torch.equal(fetched.is_dropped, expected.is_dropped)

    def fail(step: int) -> Batch:
        raise RuntimeError("no such picture")

    with pytest.raises(RuntimeError, match="no such picture"):
        list(prefetched(fail, range(3), workers=workers))
