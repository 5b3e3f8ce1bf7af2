import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.searches.ranking.folding import fold


def cosine(one, other):
    product = sum(float(a) * float(b) for a, b in zip(one, other, strict=True))
    lengths = [sum(float(a) ** 2 for a in vector) ** 0.5 for vector in (one, other)]
    return np.float32(min(1.0, max(-1.0, product / lengths[0] / lengths[1])))


def slowly_folded(vectors, bound):
    """Place of each kept vector -> what went into it, by asking every kept one in turn."""
    kept = {}
    for place, vector in enumerate(vectors):
        for earlier in kept:
            similarity = cosine(vectors[earlier], vector)
            if similarity >= np.float32(bound):
                kept[earlier].append((place, float(similarity)))
                break
        else:
            kept[place] = []
    return kept


def as_pairs(kept):
    return {one.place: [(f.place, f.similarity) for f in one.duplicates] for one in kept}


def crowd(count, distinct, seed, dim=4):
    """Vectors of which many are equal and many close to each other."""
    random = np.random.default_rng(seed)
    pool = random.standard_normal((distinct, dim)).astype(np.float32)
    vectors = pool[random.integers(0, distinct, count)]
    vectors[::3] += random.standard_normal(vectors[::3].shape).astype(np.float32) * 0.05
    return vectors


@settings(deadline=None)
@given(
    count=st.integers(0, 150),
    distinct=st.integers(1, 30),
    bound=st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]),
    wanted_count=st.integers(1, 160),
    seed=st.integers(0, 1000),
)
def test_folding_is_what_asking_every_kept_one_gives(count, distinct, bound, wanted_count, seed):
    vectors = crowd(count, distinct, seed)
    kept = fold(vectors, bound=bound, wanted_count=wanted_count)
    expected = list(slowly_folded(vectors, bound).items())[:wanted_count]
    found = as_pairs(kept)
    assert list(found) == [place for place, _ in expected]
    for place, duplicates in expected:
        assert [other for other, _ in found[place]] == [other for other, _ in duplicates]
        similarities = [similarity for _, similarity in found[place]]
        assert similarities == pytest.approx([s for _, s in duplicates], abs=1e-6)


@settings(deadline=None)
@given(few=st.integers(1, 50), seed=st.integers(0, 1000))
def test_to_want_fewer_changes_nothing_of_those(few, seed):
    """To the last bit, what was folded into them included."""
    vectors = crowd(200, 60, seed)
    whole = fold(vectors, bound=0.9, wanted_count=200)
    assert fold(vectors, bound=0.9, wanted_count=few) == whole[:few]


@given(scale=st.floats(0.1, 10))
def test_equal_directions_reach_a_bound_of_one(scale):
    """Stored vectors are of length 1 only to the precision they are stored with."""
    vector = np.random.default_rng(0).standard_normal(512).astype(np.float32)
    (kept,) = fold(np.stack([vector, vector * np.float32(2)]), bound=1.0, wanted_count=2)
    assert kept.duplicates[0].similarity == 1.0


def test_a_chain_is_not_folded_through_what_was_folded():
    """b is close to a, c close to b only: c stays, for b is no hit any more."""
    angles = np.deg2rad([0, 20, 40])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    kept = fold(vectors, bound=np.cos(np.deg2rad(25)), wanted_count=3)
    assert {one.place: [f.place for f in one.duplicates] for one in kept} == {0: [1], 2: []}
