"""Folds are evaluations of their own, averaged."""

import pytest
import torch

from model.errors import DataError
from model.metrics import evaluate_retrieval
from model.ranking import rank_retrieval
from model.training.folds import rank_in_folds, report_of_folds


def unit_rows(count: int, seed: int) -> torch.Tensor:
    rows = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    return rows / rows.norm(dim=1, keepdim=True)


def evaluate_in_folds(images, captions, caption_image, *, fold_count):
    ranking = rank_in_folds(images, captions, caption_image, fold_count=fold_count)
    return report_of_folds(ranking, caption_image, fold_count=fold_count)


def test_one_fold_is_the_whole_data_set() -> None:
    images, captions = unit_rows(12, 0), unit_rows(36, 1)
    caption_image = torch.arange(36) // 3
    whole = evaluate_retrieval(images, captions, caption_image)
    assert evaluate_in_folds(images, captions, caption_image, fold_count=1) == whole


def test_several_folds_are_the_mean_of_consecutive_parts_with_their_own_captions() -> None:
    counts = torch.tensor([1, 3, 2, 2, 4, 1, 5, 2, 1, 1, 2, 3])
    images, caption_image = unit_rows(12, 0), torch.arange(12).repeat_interleave(counts)
    captions = unit_rows(len(caption_image), 1)
    report = evaluate_in_folds(images, captions, caption_image, fold_count=3)
    parts = []
    for fold in range(3):
        rows = [c for c, image in enumerate(caption_image.tolist()) if image // 4 == fold]
        own = caption_image[rows] - 4 * fold
        parts.append(evaluate_retrieval(images[4 * fold : 4 * fold + 4], captions[rows], own))
    assert report.rsum == pytest.approx(sum(part.rsum for part in parts) / 3)
    medians = [part.image_to_text.median_rank for part in parts]
    assert report.image_to_text.median_rank == pytest.approx(sum(medians) / 3)
    recalls = [part.text_to_image.recall_at_1 for part in parts]
    assert report.text_to_image.recall_at_1 == pytest.approx(sum(recalls) / 3)
    assert (report.image_count, report.caption_count) == (12, 27)
    six = [
        getattr(direction, f"recall_at_{k}")
        for direction in (report.image_to_text, report.text_to_image)
        for k in (1, 5, 10)
    ]
    assert report.rsum == pytest.approx(sum(six))


def test_hits_stand_at_their_places_in_the_whole_data_set() -> None:
    images, captions = unit_rows(12, 0), unit_rows(36, 1)
    caption_image = torch.arange(36) // 3
    found = rank_in_folds(images, captions, caption_image, fold_count=3, hit_count=4)
    for fold in range(3):
        rows, own = slice(4 * fold, 4 * fold + 4), slice(12 * fold, 12 * fold + 12)
        part = rank_retrieval(
            images[rows], captions[own], caption_image[own] - 4 * fold, hit_count=4
        )
        assert torch.equal(found.own_scores[own], part.own_scores)
        assert torch.equal(
            found.caption_hits.positions[rows], part.caption_hits.positions + 12 * fold
        )
        assert torch.equal(found.image_hits.positions[own], part.image_hits.positions + 4 * fold)
        assert torch.equal(found.image_hits.scores[own], part.image_hits.scores)


def test_folds_must_be_equal() -> None:
    with pytest.raises(DataError, match="10 images cannot be cut into 3 equal folds"):
        evaluate_in_folds(unit_rows(10, 0), unit_rows(10, 1), torch.arange(10), fold_count=3)
