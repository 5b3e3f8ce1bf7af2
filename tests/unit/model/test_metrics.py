"""Ranks and recalls against a slow reading of their definition."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.encoders.pooling import unit_length
from model.metrics import (
    evaluate_retrieval,
    exact_scores,
    metrics_from_ranks,
    report_from_ranks,
    retrieval_ranks,
)


def slow_ranks(similarity: torch.Tensor, caption_image: torch.Tensor) -> tuple[list, list]:
    images, captions = similarity.shape
    image_ranks = []
    for i in range(images):
        best = max(float(similarity[i, j]) for j in range(captions) if caption_image[j] == i)
        image_ranks.append(
            sum(float(similarity[i, j]) >= best for j in range(captions) if caption_image[j] != i)
        )
    caption_ranks = []
    for j in range(captions):
        own = int(caption_image[j])
        caption_ranks.append(
            sum(
                float(similarity[i, j]) >= float(similarity[own, j])
                for i in range(images)
                if i != own
            )
        )
    return image_ranks, caption_ranks


@given(st.integers(1, 6), st.integers(0, 8), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_ranks_are_the_definition_ties_included(images: int, more: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    caption_image = torch.cat(
        [torch.arange(images), torch.randint(images, (more,), generator=generator)]
    )
    # Few distinct values, so that ties are common.
    similarity = torch.randint(4, (images, images + more), generator=generator).float()
    image_ranks, caption_ranks = retrieval_ranks(similarity, caption_image)
    assert (image_ranks.tolist(), caption_ranks.tolist()) == slow_ranks(similarity, caption_image)


def test_chunked_evaluation_equals_the_whole_matrix() -> None:
    images = unit_length(torch.randn(1100, 8))
    captions = unit_length(torch.randn(1500, 8))
    captions[7] = captions[1200]
    caption_image = torch.cat([torch.arange(1100), torch.randint(1100, (400,))])
    whole = report_from_ranks(*retrieval_ranks(exact_scores(images, captions), caption_image))
    assert evaluate_retrieval(images, captions, caption_image) == whole


def test_equal_captions_tie_exactly_wherever_they_stand() -> None:
    images, captions = unit_length(torch.randn(33, 129)), unit_length(torch.randn(500, 129))
    captions[[3, 77, 499]] = captions[250].clone()
    scores = exact_scores(images, captions)
    for place in (3, 77, 499):
        assert torch.equal(scores[:, place], scores[:, 250])


def test_recalls_grow_with_k_and_count_strictly() -> None:
    metrics = metrics_from_ranks(torch.tensor([0, 1, 4, 5, 9, 10]))
    assert metrics.recall_at_1 == pytest.approx(100 / 6)
    assert metrics.recall_at_5 == 50.0
    assert metrics.recall_at_10 == pytest.approx(500 / 6)
    assert metrics.median_rank == 5  # floor(4.5) + 1
    assert metrics.mean_rank == pytest.approx(29 / 6 + 1)
