import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index_builder.quality import recall_at_10
from index_builder.vector_index import ExactIndex, exact_scores
from model.errors import GalleryIndexError
from tests.unit.index_builder.galleries import brute_force, unit_rows


@settings(deadline=None, max_examples=40)
@given(
    count=st.integers(1, 60),
    wanted=st.integers(1, 70),
    query_count=st.integers(1, 9),
    distinct=st.integers(1, 60),
    seed=st.integers(0, 1000),
)
def test_exact_search_is_brute_force(count, wanted, query_count, distinct, seed):
    """Whatever the batch size and however many vectors are equal."""
    pool = unit_rows(distinct, dim=8, seed=seed)
    vectors = pool[np.random.default_rng(seed).integers(0, distinct, count)]
    queries = unit_rows(query_count, dim=8, seed=seed + 1)
    queries[0] = vectors[0]
    found = ExactIndex.build([vectors], 8).search(queries, wanted)
    for query, answer in zip(queries, found, strict=True):
        expected = brute_force(query, vectors)[:wanted]
        assert list(answer.rows) == [row for row, _ in expected]
        np.testing.assert_array_equal(answer.scores, [score for _, score in expected])


def nearly_equal_rows():
    """300 vectors closer together than float32 sums can tell."""
    vectors = np.repeat(unit_rows(1, dim=256), 300, axis=0)
    noise = np.random.default_rng(0).standard_normal(vectors.shape)
    return vectors + noise.astype(np.float32) * np.float32(1e-8)


def test_rows_within_the_rounding_of_float32_are_not_lost():
    """FAISS alone picks other rows."""
    vectors = nearly_equal_rows()
    index = ExactIndex.build([vectors], 256)
    query = unit_rows(1, dim=256)
    scores = exact_scores(query[0], vectors, np.arange(300))
    expected = np.lexsort((np.arange(300), -scores))[:5]
    assert list(index.search(query, 5)[0].rows) == list(expected)


def test_a_query_gets_the_same_bits_alone_and_in_a_batch():
    vectors, queries = unit_rows(500, dim=64), unit_rows(40, dim=64, seed=1)
    index = ExactIndex.build([vectors], 64)
    together = index.search(queries, 20)
    for query, answer in zip(queries, together, strict=True):
        alone = index.search(query[None], 20)[0]
        np.testing.assert_array_equal(alone.rows, answer.rows)
        np.testing.assert_array_equal(alone.scores, answer.scores)


def test_blocks_are_rows_in_their_order(tmp_path):
    vectors = unit_rows(10)
    ExactIndex.build([vectors[:3], vectors[3:]], 16).write(tmp_path / "index.faiss")
    np.testing.assert_array_equal(ExactIndex.load(tmp_path / "index.faiss").vectors, vectors)


def test_recall_of_the_exact_kind_is_one_and_a_blind_index_is_caught():
    vectors = unit_rows(400)
    index = ExactIndex.build([vectors], 16)
    assert recall_at_10(index, vectors[:50]) == 1.0
    close = nearly_equal_rows()
    assert recall_at_10(ExactIndex.build([close], 256), close[:50]) == 1.0

    class Blind(ExactIndex):
        def search(self, queries, wanted_count):
            return [type(a)(np.arange(10), a.scores) for a in super().search(queries, wanted_count)]

    blind = Blind(index._index)
    assert recall_at_10(blind, vectors[:50]) < 0.5


def test_a_damaged_file_or_another_kind_is_refused(tmp_path):
    import faiss

    path = tmp_path / "index.faiss"
    with pytest.raises(GalleryIndexError, match=r"missing"):
        ExactIndex.load(path)
    path.write_bytes(b"no index at all")
    with pytest.raises(GalleryIndexError, match=r"cannot be read"):
        ExactIndex.load(path)
    faiss.write_index(faiss.IndexFlatL2(4), str(path))
    with pytest.raises(GalleryIndexError, match=r"IndexFlatL2 but the manifest says exact"):
        ExactIndex.load(path)
