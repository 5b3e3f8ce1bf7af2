import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index_builder.vector_index import ExactIndex, exact_scores, recall_at_10
from index_builder.vector_index.exact import write_exact
from index_builder.vector_index.gpu import ResidentIndex
from model.errors import GalleryIndexError
from tests.unit.index_builder.written_galleries import brute_force, unit_rows


def exact_index(vectors):
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return ExactIndex(index)


def expected_hits(query, vectors, wanted, allowed=None):
    hits = brute_force(query, vectors)
    return [(row, score) for row, score in hits if allowed is None or allowed[row]][:wanted]


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 60),
    wanted=st.integers(1, 70),
    query_count=st.integers(1, 9),
    distinct=st.integers(1, 60),
    allowed_share=st.sampled_from([None, 0.0, 0.1, 0.5, 1.0]),
    at_once=st.integers(1, 80),
    seed=st.integers(0, 1000),
)
def test_exact_search_is_brute_force(
    count, wanted, query_count, distinct, allowed_share, at_once, seed
):
    """Whatever the batch size, the filter and the engine, and however many vectors are equal."""
    random = np.random.default_rng(seed)
    pool = unit_rows(distinct, dim=8, seed=seed)
    vectors = pool[random.integers(0, distinct, count)]
    queries = unit_rows(query_count, dim=8, seed=seed + 1)
    queries[0] = vectors[0]
    allowed = None if allowed_share is None else random.random(count) < allowed_share
    index = exact_index(vectors)
    for searched in (index, ResidentIndex(index, "cpu", at_once=at_once)):
        found = searched.search(queries, wanted, allowed=allowed)
        for query, answer in zip(queries, found, strict=True):
            expected = expected_hits(query, vectors, wanted, allowed)
            assert list(answer.rows) == [row for row, _ in expected]
            np.testing.assert_array_equal(answer.scores, [score for _, score in expected])


def nearly_equal_rows():
    """300 vectors closer together than float32 sums can tell."""
    vectors = np.repeat(unit_rows(1, dim=256), 300, axis=0)
    noise = np.random.default_rng(0).standard_normal(vectors.shape)
    return vectors + noise.astype(np.float32) * np.float32(1e-8)


@pytest.mark.parametrize("query_count", [1, 5])
@pytest.mark.parametrize("is_filtered", [False, True])
@pytest.mark.parametrize("is_resident", [False, True])
def test_rows_within_the_rounding_of_float32_are_not_lost(query_count, is_filtered, is_resident):
    """An engine of float32 alone picks other rows."""
    vectors = nearly_equal_rows()
    index = exact_index(vectors)
    if is_resident:
        index = ResidentIndex(index, "cpu", at_once=50)
    allowed = np.arange(300) % 3 != 0 if is_filtered else None
    rows = np.flatnonzero(allowed) if is_filtered else np.arange(300)
    query = unit_rows(1, dim=256)
    scores = exact_scores(query[0], vectors, rows)
    expected = rows[np.lexsort((rows, -scores))[:5]]
    for answer in index.search(np.repeat(query, query_count, axis=0), 5, allowed=allowed):
        assert list(answer.rows) == list(expected)


def test_a_query_gets_the_same_bits_alone_and_in_a_batch():
    vectors, queries = unit_rows(500, dim=64), unit_rows(40, dim=64, seed=1)
    index = exact_index(vectors)
    together = index.search(queries, 20)
    for query, answer in zip(queries, together, strict=True):
        alone = index.search(query[None], 20)[0]
        np.testing.assert_array_equal(alone.rows, answer.rows)
        np.testing.assert_array_equal(alone.scores, answer.scores)


def test_lowered_precision_of_torch_does_not_reach_the_search():
    """As a user may ask for TensorFloat-32 for the network; bfloat16 has the same switch here."""
    import torch

    index = exact_index(nearly_equal_rows())
    query = unit_rows(1, dim=256)
    expected = index.search(query, 5)[0]
    torch.set_float32_matmul_precision("medium")
    try:
        found = ResidentIndex(index, "cpu").search(query, 5)[0]
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    np.testing.assert_array_equal(found.rows, expected.rows)


def test_a_file_written_by_blocks_is_the_one_faiss_writes(tmp_path):
    vectors = unit_rows(20_000, dim=16)  # more than a block
    write_exact(vectors, tmp_path / "by-blocks")
    exact_index(vectors).write(tmp_path / "by-faiss")
    assert (tmp_path / "by-blocks").read_bytes() == (tmp_path / "by-faiss").read_bytes()
    loaded = ExactIndex.load(tmp_path / "by-blocks")
    np.testing.assert_array_equal(loaded.vectors, vectors)
    np.testing.assert_array_equal(loaded.vectors_of(np.array([7, 3])), vectors[[7, 3]])


def test_recall_of_the_exact_kind_is_one_and_a_blind_index_is_caught():
    vectors = unit_rows(400)
    index = exact_index(vectors)
    assert recall_at_10(index, vectors[:50]) == 1.0
    close = nearly_equal_rows()
    assert recall_at_10(exact_index(close), close[:50]) == 1.0

    class Blind(ExactIndex):
        def search(self, queries, wanted_count, *, allowed=None):
            return [type(a)(np.arange(10), a.scores) for a in super().search(queries, wanted_count)]

    blind = Blind(index._index)
    assert recall_at_10(blind, vectors[:50]) < 0.5


def test_a_damaged_file_or_another_kind_is_refused(tmp_path):
    path = tmp_path / "index.faiss"
    with pytest.raises(GalleryIndexError, match=r"missing"):
        ExactIndex.load(path)
    path.write_bytes(b"no index at all")
    with pytest.raises(GalleryIndexError, match=r"cannot be read"):
        ExactIndex.load(path)
    faiss.write_index(faiss.IndexFlatL2(4), str(path))
    with pytest.raises(GalleryIndexError, match=r"IndexFlatL2 but the manifest says exact"):
        ExactIndex.load(path)


@pytest.mark.parametrize("mask", [np.ones(9, bool), np.ones(10), np.ones((10, 1), bool)])
def test_a_mask_of_another_length_or_type_is_refused(mask):
    with pytest.raises(GalleryIndexError, match=r"give one bool for each row"):
        exact_index(unit_rows(10)).search(unit_rows(1), 3, allowed=mask)
