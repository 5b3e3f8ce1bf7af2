"""The relevance of hits is a probability that holds, and rises with the score."""

import numpy as np
import pytest

from index_builder.galleries.relevance import Relevance, fit_relevance


def hits(count, seed=0, *, slope=12.0, intercept=-6.0):
    """Scores, and labels that are drawn with the probabilities of a known curve."""
    draws = np.random.default_rng(seed)
    scores = draws.uniform(0.2, 0.8, count)
    return scores, draws.random(count) < 1 / (1 + np.exp(-(slope * scores + intercept)))


def test_the_curve_that_labels_were_drawn_from_is_found_again():
    found = fit_relevance(*hits(50_000), query_count=5_000)
    assert found.slope == pytest.approx(12, rel=0.05)
    assert found.intercept == pytest.approx(-6, rel=0.05)
    assert found.hit_count == 50_000


def test_of_hits_with_a_relevance_of_a_third_a_third_belongs():
    found = fit_relevance(*hits(5_000), query_count=500)
    scores, is_own = hits(20_000, seed=1)
    relevance = np.array([found.of(score) for score in scores])
    for low in np.arange(0, 1, 0.2):
        there = (relevance >= low) & (relevance < low + 0.2)
        assert there.sum() > 500
        assert is_own[there].mean() == pytest.approx(relevance[there].mean(), abs=0.05)


def test_a_better_score_is_no_less_relevant_and_all_lie_between_0_and_1():
    found = fit_relevance(*hits(5_000), query_count=500)
    relevance = [found.of(score) for score in np.linspace(-1, 1, 1_000)]
    assert sorted(relevance) == relevance and 0 <= relevance[0] < relevance[-1] <= 1
    steep = Relevance(slope=1e6, intercept=0, hit_count=1)
    assert (steep.of(-1), steep.of(1)) == (0, 1)


def test_labels_that_scores_separate_give_a_steep_curve_and_no_infinite_one():
    scores = np.linspace(0, 1, 2_000)
    found = fit_relevance(scores, scores > 0.7, query_count=200)
    assert found.of(0.6) < 0.01 and found.of(0.8) > 0.99 and np.isfinite(found.slope)


def test_where_scores_tell_nothing_or_the_opposite_every_hit_is_as_likely_as_any():
    scores, is_own = hits(2_000)
    found = fit_relevance(scores, ~is_own, query_count=200)
    assert found.slope == 0
    assert found.of(0.9) == found.of(0.1) == pytest.approx((~is_own).mean(), abs=0.01)
    alike = fit_relevance(np.full(2_000, 0.4), is_own, query_count=200)
    assert alike.of(0.4) == pytest.approx(is_own.mean(), abs=0.01)


def test_few_queries_or_hits_that_are_all_alike_tell_nothing():
    scores, is_own = hits(2_000)
    assert fit_relevance(scores, is_own, query_count=99) is None
    for every in (np.ones_like(is_own), np.zeros_like(is_own)):
        assert fit_relevance(scores, every, query_count=200) is None
