"""Rarity, neighbours, quarters and curves, each against a slow reading of its definition."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.encoders.pooling import unit_length
from model.training import analysis
from model.training.analysis import (
    content_words,
    document_frequency,
    neighbour_similarity,
    quartile_recalls,
    rank_histogram,
    rarest_word_counts,
    recall_curve,
)


def test_function_words_are_never_the_rarest_unless_alone() -> None:
    assert content_words("A dog's t-shirt, amongst 3 trees!") == ["dog", "shirt", "trees"]
    assert content_words("Who is it?") == ["who", "is", "it"]
    assert content_words("42 !") == []
    assert content_words("Çocuk köpeği") == ["çocuk", "köpeği"]


def test_the_rarest_content_word_counts_in_how_many_captions_it_stands() -> None:
    training = ["a dog and a dog", "a dog runs", "the cat", "a dog amongst cats"]
    frequency = document_frequency(training)
    assert frequency["dog"] == 3
    captions = ["a dog runs", "dog amongst dog", "a zebra", "7", "the"]
    assert rarest_word_counts(captions, frequency).tolist() == [1, 3, 0, 0, 1]


def test_the_nearest_other_image_is_never_the_image_itself(monkeypatch) -> None:
    monkeypatch.setattr(analysis, "_PART_ROWS", 4)
    embeddings = unit_length(torch.randn(11, 5))
    embeddings[9] = embeddings[2]
    cosines = (embeddings @ embeddings.T).numpy()
    slow = [max(cosines[i, j] for j in range(11) if j != i) for i in range(11)]
    found = neighbour_similarity(embeddings)
    np.testing.assert_allclose(found, slow, atol=1e-6)  # parts multiply in another order
    assert found[2] == pytest.approx(1) and found[9] == pytest.approx(1)
    with pytest.raises(ValueError, match="alone"):
        neighbour_similarity(embeddings[:1])


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), min_size=1, max_size=60))
@settings(deadline=None)
def test_quarters_part_the_queries_in_order_and_keep_equal_values_together(
    queries: list[tuple[int, int]],
) -> None:
    values = np.array([value for value, _ in queries])
    ranks = np.array([rank for _, rank in queries])
    rows = quartile_recalls(values, ranks)
    assert sum(row.query_count for row in rows) == len(queries)
    assert all(row.highest < after.lowest for row, after in pairwise(rows))
    for row in rows:
        inside = [rank for value, rank in queries if row.lowest <= value <= row.highest]
        assert row.query_count == len(inside)
        assert row.recall_at_1 == pytest.approx(
            100 * sum(rank == 0 for rank in inside) / len(inside)
        )


def test_quarters_of_distinct_values_are_equal_in_size() -> None:
    rows = quartile_recalls(np.random.default_rng(0).permutation(40), np.zeros(40, dtype=int))
    assert [row.query_count for row in rows] == [10, 10, 10, 10]
    assert [row.lowest for row in rows] == [0, 10, 20, 30]


@given(st.lists(st.integers(0, 130), min_size=1, max_size=50))
@settings(deadline=None)
def test_the_curve_is_the_recall_at_every_k_and_the_histogram_counts_every_rank(
    listed: list[int],
) -> None:
    ranks = np.array(listed)
    curve = recall_curve(ranks)
    slow = [100 * sum(rank < k for rank in listed) / len(listed) for k in range(1, 101)]
    np.testing.assert_allclose(curve, slow)
    edges = (0, 1, 5, 100)
    bounds = [*edges, 10**9]
    counts = [sum(low <= r < high for r in listed) for low, high in pairwise(bounds)]
    assert rank_histogram(ranks, edges) == counts
