import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.searches.ranking import CANDIDATE_COUNT, Candidates, distinct_rows, fuse

rankings = st.lists(st.integers(0, 40), max_size=30, unique=True)


def score_of(row: int, seed: int) -> np.float32:
    """A cosine for each row, of few values, so that many are equal."""
    return np.float32(np.random.default_rng(seed * 1000 + row).integers(0, 5) / 8)


def ranked_by_vector(rows: list[int], seed: int) -> Candidates:
    ordered = sorted(rows, key=lambda row: (-score_of(row, seed), row))
    scores = np.array([score_of(row, seed) for row in ordered], dtype=np.float32)
    return Candidates(np.array(ordered, dtype=np.int64), scores)


def slowly_fused(by_vector: list[int], by_words: list[int], seed: int) -> list[int]:
    """Reciprocal rank fusion as the paper writes it, one row after the other."""
    sums = {}
    for row in {*by_vector, *by_words}:
        one = 1 / (60 + by_vector.index(row) + 1) if row in by_vector else 0.0
        other = 1 / (60 + by_words.index(row) + 1) if row in by_words else 0.0
        sums[row] = one + other
    return sorted(sums, key=lambda row: (-sums[row], -score_of(row, seed), row))


@settings(deadline=None)
@given(by_vector=rankings, by_words=rankings, seed=st.integers(0, 1000))
def test_fusion_is_the_sum_of_reciprocal_ranks(by_vector, by_words, seed):
    candidates = ranked_by_vector(by_vector, seed)
    scored = []

    def score_rows(rows):
        scored.extend(rows.tolist())
        return np.array([score_of(row, seed) for row in rows], dtype=np.float32)

    fused = fuse(candidates, np.array(by_words, dtype=np.int64), score_rows=score_rows)
    expected = slowly_fused(candidates.rows.tolist(), by_words, seed)
    assert fused.rows.tolist() == expected
    assert fused.scores.tolist() == [score_of(row, seed) for row in expected]
    assert sorted(scored) == sorted(set(by_words) - set(by_vector))


def test_a_row_that_both_find_overtakes_those_that_one_finds():
    by_vector = Candidates(np.array([4, 7, 9]), np.float32([0.9, 0.8, 0.7]))
    fused = fuse(by_vector, np.array([3, 9]), score_rows=lambda _: np.float32([0.1]))
    assert fused.rows.tolist() == [9, 4, 3, 7]
    assert fused.scores.tolist() == pytest.approx([0.7, 0.9, 0.1, 0.8])


def test_two_full_rankings_are_fused_to_one_of_a_thousand():
    count = CANDIDATE_COUNT
    by_vector = Candidates(np.arange(count), np.linspace(1, 0, count, dtype=np.float32))
    by_words = np.arange(count, 2 * count)
    fused = fuse(by_vector, by_words, score_rows=lambda rows: np.zeros(len(rows), np.float32))
    assert len(fused) == CANDIDATE_COUNT
    # In turn, for equal ranks count the same; the higher cosine first.
    assert fused.rows[:6].tolist() == [0, count, 1, count + 1, 2, count + 2]


@given(st.lists(st.integers(0, 9), max_size=30))
def test_every_row_stays_where_it_stood_first(rows):
    assert distinct_rows(np.array(rows, dtype=np.int64)).tolist() == list(dict.fromkeys(rows))
