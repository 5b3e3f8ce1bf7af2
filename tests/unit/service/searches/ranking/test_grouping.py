import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.searches.ranking import best_of_each
from service.searches.ranking.grouping import first_of_each

image_ids = st.sampled_from(["dog", "cat", "sea", "road"])


@given(st.lists(st.none() | image_ids, max_size=30))
def test_the_first_of_each_image_stays_and_what_has_none_too(asked):
    expected = [
        place
        for place, image_id in enumerate(asked)
        if image_id is None or image_id not in asked[:place]
    ]
    assert first_of_each(asked).tolist() == expected


@given(
    captions=st.lists(st.tuples(image_ids, st.integers(-4, 4)), max_size=40),
    wanted_count=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_each_image_has_its_best_captions_in_order(captions, wanted_count, seed):
    rows = np.random.default_rng(seed).permutation(len(captions))
    scores = np.array([score / 8 for _, score in captions], dtype=np.float32)
    of_images = [image_id for image_id, _ in captions]
    found = best_of_each(of_images, rows, scores, wanted_count=wanted_count)
    assert set(found) == set(of_images)
    for image_id, best in found.items():
        own = [(-scores[i], rows[i]) for i, of in enumerate(of_images) if of == image_id]
        expected = [(row, -score) for score, row in sorted(own)[:wanted_count]]
        assert [(one.row, one.score) for one in best] == expected
