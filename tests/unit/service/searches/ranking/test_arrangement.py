import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.searches.ranking import Candidates, arrange
from tests.unit.service.searches.ranking.test_folding import slowly_folded

COUNT = 60


@st.composite
def worlds(draw):
    """Candidates of a gallery with groups and near-duplicates, and how they are arranged."""
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    count = draw(st.integers(0, COUNT))
    pool = random.standard_normal((draw(st.integers(1, 20)), 4)).astype(np.float32)
    vectors = pool[random.integers(0, len(pool), COUNT)]
    image_count = draw(st.integers(1, 30))
    image_ids = [
        None if image == image_count else f"image-{image}"
        for image in random.integers(0, image_count + 1, COUNT)
    ]
    scores = np.sort(random.random(count).astype(np.float32))[::-1]
    candidates = Candidates(random.permutation(COUNT)[:count], scores)
    asked = {
        "image_ids_of": (lambda rows: [image_ids[row] for row in rows])
        if draw(st.booleans())
        else None,
        "fold_above": draw(st.sampled_from([None, 0.5, 0.95, 1.0])),
        "vectors_of": lambda rows: vectors[rows],
    }
    return candidates, asked


def slowly_arranged(candidates, image_ids_of=None, fold_above=None, vectors_of=None):
    """All (row, score, [(duplicate's row, its score)]) by rank, one candidate after the other."""
    places, seen = [], set()
    for place, row in enumerate(candidates.rows):
        image_id = image_ids_of([row])[0] if image_ids_of else None
        if image_id is None or image_id not in seen:
            places.append(place)
        seen.add(image_id)
    pairs = [(int(candidates.rows[p]), float(candidates.scores[p])) for p in places]
    if fold_above is None:
        return [(*pair, None) for pair in pairs]
    folded = slowly_folded([vectors_of(row) for row, _ in pairs], fold_above)
    return [
        (*pairs[kept], [pairs[place] for place, _ in others]) for kept, others in folded.items()
    ]


def as_tuples(hits):
    return [
        (
            hit.row,
            hit.score,
            None if hit.duplicates is None else [(d.row, d.score) for d in hit.duplicates],
        )
        for hit in hits
    ]


@settings(deadline=None, max_examples=200)
@given(world=worlds(), limit=st.integers(1, 100), first_limit=st.integers(1, 20))
def test_pages_of_whatever_size_put_together_are_the_slow_list(world, limit, first_limit):
    candidates, asked = world
    hits, offset, this_limit = [], 0, first_limit
    while offset is not None:
        page = arrange(candidates, limit=this_limit, offset=offset, **asked)
        assert len(page.hits) == this_limit or page.next_offset is None
        assert page.next_offset is None or len(page.hits) > 0
        hits += page.hits
        offset, this_limit = page.next_offset, limit
        if offset is not None:
            assert offset == len(hits)
    assert as_tuples(hits) == slowly_arranged(candidates, **asked)
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))


@settings(deadline=None)
@given(world=worlds(), limit=st.integers(1, 70), offset=st.integers(0, 70))
def test_nothing_follows_exactly_where_the_next_page_is_empty(world, limit, offset):
    candidates, asked = world
    page = arrange(candidates, limit=limit, offset=offset, **asked)
    following = arrange(candidates, limit=limit, offset=offset + limit, **asked)
    assert (page.next_offset is None) == (following.hits == [])


@settings(deadline=None)
@given(world=worlds())
def test_every_candidate_is_a_hit_or_a_duplicate_of_one_unless_grouped(world):
    candidates, asked = world
    page = arrange(candidates, limit=COUNT, offset=0, **{**asked, "image_ids_of": None})
    rows = [row for hit in page.hits for row in [hit.row, *(d.row for d in hit.duplicates or ())]]
    assert sorted(rows) == sorted(candidates.rows.tolist())


def test_vectors_are_read_only_where_they_are_compared():
    def vectors_of(rows):
        raise AssertionError("read")

    candidates = Candidates(np.arange(3), np.float32([3, 2, 1]))
    assert len(arrange(candidates, limit=9, offset=0, vectors_of=vectors_of).hits) == 3
