import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import PartsCancelError
from service.searches.weighted_queries import SHORTEST_SUM, combine
from tests.unit.index_builder.written_galleries import unit_rows

weights_of_parts = st.lists(
    st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=32
)


@given(weights=st.lists(st.floats(-100, 100), min_size=1, max_size=32), seed=st.integers(0, 100))
def test_the_query_is_the_normalised_weighted_sum(weights, seed):
    embeddings = unit_rows(len(weights), dim=8, seed=seed)
    total = [
        sum(weight * float(row[i]) for weight, row in zip(weights, embeddings, strict=True))
        for i in range(8)
    ]
    length = sum(value**2 for value in total) ** 0.5
    if length < 0.99 * SHORTEST_SUM:
        with pytest.raises(PartsCancelError):
            combine(embeddings, weights)
    elif length > 1e-3:
        combined = combine(embeddings, weights)
        assert combined.dtype == np.float32
        np.testing.assert_allclose(combined, np.array(total) / length, atol=1e-5)


@given(weights=weights_of_parts, seed=st.integers(0, 100))
def test_whatever_the_weights_a_query_is_finite_and_of_length_one_or_refused(weights, seed):
    try:
        combined = combine(unit_rows(len(weights), dim=8, seed=seed), weights)
    except PartsCancelError:
        return
    assert np.linalg.norm(combined.astype(np.float64)) == pytest.approx(1, abs=1e-6)


def test_one_part_of_any_positive_weight_is_the_part_itself():
    embeddings = unit_rows(1, dim=16)
    for weight in (1e-5, 1.0, 1e300):
        np.testing.assert_allclose(combine(embeddings, [weight]), embeddings[0], atol=1e-7)


def test_the_length_of_an_embedding_does_not_count():
    one, other = unit_rows(2, dim=16)
    long = combine(np.stack([one * 7, other]), [1, 1])
    np.testing.assert_allclose(long, combine(np.stack([one, other]), [1, 1]), atol=1e-6)


@pytest.mark.parametrize("weights", [[1, -1], [0, 0], [2.5, -2.5], [1e-7, 0], [3e-7, 3e-7]])
def test_a_sum_shorter_than_a_millionth_is_refused(weights):
    same = np.repeat(unit_rows(1, dim=16), 2, axis=0)
    with pytest.raises(PartsCancelError, match="cancel each other out"):
        combine(same, weights)
