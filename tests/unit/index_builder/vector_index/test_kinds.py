"""What every kind promises, whatever it looks at."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from index_builder.vector_index import RowMask, build_vector_index, exact_scores
from index_builder.vector_index.gpu import IvfIndexOnGpu
from model.errors import GalleryIndexError
from tests.unit.index_builder.vector_index.clusters import (
    APPROXIMATE,
    COUNT,
    KINDS,
    clustered_rows,
)

ROWS = clustered_rows()
QUERIES = clustered_rows(40, seed=2)
random = np.random.default_rng(3)
CLOSE = ROWS @ QUERIES[0]
MASKS = {
    "most": random.random(COUNT) < 0.9,
    "half": random.random(COUNT) < 0.5,
    "some": random.random(COUNT) < 0.2,
    "few": random.random(COUNT) < 0.02,
    "close": np.quantile(CLOSE, 0.6) < CLOSE,
    "far": np.quantile(CLOSE, 0.4) > CLOSE,
    "none": np.zeros(COUNT, bool),
}


@pytest.fixture(params=KINDS, ids=lambda pair: pair[1] or pair[0])
def index(request, built):
    return built[request.param].index


def true_rows(index, query, allowed, count):
    rows = np.flatnonzero(allowed)
    scores = exact_scores(query, index.vectors, rows)
    return rows[np.lexsort((rows, -scores))[:count]]


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("wanted", [1, 10, 200])
def test_a_filter_is_kept_and_a_page_is_full(index, name, wanted, exactly_only_tiny):
    allowed = MASKS[name]
    for query, answer in zip(QUERIES, index.search(QUERIES, wanted, allowed=allowed), strict=True):
        assert allowed[answer.rows].all()
        assert len(set(answer.rows)) == len(answer.rows) == min(wanted, np.count_nonzero(allowed))
        np.testing.assert_array_equal(
            answer.scores, exact_scores(query, index.vectors, answer.rows)
        )
        # What only more effort found stands behind the first hundred.
        for part in (slice(0, 100), slice(100, None)):
            rows, scores = answer.rows[part], answer.scores[part]
            assert list(rows) == list(rows[np.lexsort((rows, -scores))])


@pytest.mark.parametrize("name", ["most", "half", "some", "close", "far"])
def test_with_a_filter_recall_is_at_least_the_recorded_one(built, index, name, exactly_only_tiny):
    (record,) = [one.record for one in built.values() if one.index is index]
    found = index.search(QUERIES, 10, allowed=MASKS[name])
    right = [
        len(set(answer.rows) & set(true_rows(index, query, MASKS[name], 10)))
        for query, answer in zip(QUERIES, found, strict=True)
    ]
    # 40 queries against the 100 that were tuned with: what chance may take off.
    assert sum(right) / (10 * len(QUERIES)) >= record.recall_at_10 - 0.03


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_made_once_answers_as_the_rows_that_it_allows(index, name, exactly_only_tiny):
    mask = RowMask(MASKS[name], COUNT)
    for queries in (QUERIES[:1], QUERIES, QUERIES[:1]):
        for one, other in zip(
            index.search(queries, 10, allowed=mask),
            index.search(queries, 10, allowed=MASKS[name]),
            strict=True,
        ):
            np.testing.assert_array_equal(one.rows, other.rows)
            np.testing.assert_array_equal(one.scores, other.scores)


@pytest.mark.parametrize("query_count", [1, len(QUERIES)])
def test_a_search_with_a_known_mask_makes_nothing_of_it_again(
    index, query_count, passes_over_rows, exactly_only_tiny
):
    mask, queries = RowMask(MASKS["most"], COUNT), QUERIES[:query_count]
    index.search(queries, 10, allowed=mask)
    assert passes_over_rows
    passes_over_rows.clear()
    index.search(queries, 10, allowed=mask)
    assert passes_over_rows == []
    index.search(queries, 10, allowed=MASKS["most"])
    assert passes_over_rows


def test_a_known_mask_of_other_rows_is_refused_and_lists_are_counted_for_each(built):
    with pytest.raises(GalleryIndexError, match=r"give one bool for each row"):
        built["ivf", None].index.search(QUERIES, 10, allowed=RowMask(np.ones(9, bool), 9))
    index, other = (built["factory", f].index for f in ("PCA8,IVF16,SQ8", "IVF16_HNSW4,RaBitQ"))
    masks = [RowMask(MASKS[name], COUNT) for name in ("most", "half", "most")]
    for mask in masks:
        for each in (index, other):
            held = np.bincount(each._list_of_row, weights=mask.allowed, minlength=16)
            np.testing.assert_array_equal(each._allowed_in_lists(mask), held)
    assert len(index._known_masks) == 3
    del mask, masks
    assert len(index._known_masks) == 0


def test_threads_share_one_selector_of_a_mask(monkeypatch):
    """FAISS does not keep a selector alive: a second one in its place would free the first."""
    mask, real = RowMask(MASKS["half"], COUNT), np.packbits

    def slow(*given, **named):
        time.sleep(0.02)  # time for the others to ask
        return real(*given, **named)

    monkeypatch.setattr(np, "packbits", slow)
    with ThreadPoolExecutor(8) as pool:
        selectors = list(pool.map(lambda _: mask.selector, range(8)))
    assert all(each is selectors[0] for each in selectors)


def test_few_allowed_rows_are_searched_exactly(index):
    allowed = MASKS["few"]
    for query, answer in zip(QUERIES, index.search(QUERIES, 10, allowed=allowed), strict=True):
        assert list(answer.rows) == list(true_rows(index, query, allowed, 10))


def test_recorded_recall_is_that_of_brute_force(built):
    queries = clustered_rows(100, seed=1)
    for one in built.values():
        right = [
            len(set(answer.rows) & set(true_rows(one.index, query, np.ones(COUNT, bool), 10)))
            for query, answer in zip(queries, one.index.search(queries, 10), strict=True)
        ]
        assert one.record.recall_at_10 == pytest.approx(sum(right) / 1000)
        assert one.record.recall_at_10 >= one.record.target_recall == 0.95
        assert (one.record.recall_query_count, one.record.query_source) == (100, "held-out rows")


@pytest.mark.parametrize("wanted", [COUNT, COUNT + 1, 5000])
def test_asking_for_more_than_there_is_gives_everything_in_order(index, wanted):
    for query, answer in zip(QUERIES[:3], index.search(QUERIES[:3], wanted), strict=True):
        assert list(answer.rows) == list(true_rows(index, query, np.ones(COUNT, bool), COUNT))


def test_a_shorter_answer_is_the_beginning_of_a_longer_one(index):
    """So pages agree, also where the effort changes: at the hundredth hit."""
    longest = index.search(QUERIES[:5], 1000)
    for wanted in (12, 50, 100, 101, 112, 500):
        for short, long in zip(index.search(QUERIES[:5], wanted), longest, strict=True):
            assert list(short.rows) == list(long.rows[:wanted])
            assert list(short.scores) == list(long.scores[:wanted])
            assert len(set(long.rows)) == 1000


def test_a_query_gets_the_same_alone_and_in_a_batch(index):
    together = index.search(QUERIES, 10, allowed=MASKS["half"])
    for query, answer in zip(QUERIES, together, strict=True):
        alone = index.search(query[None], 10, allowed=MASKS["half"])[0]
        np.testing.assert_array_equal(alone.rows, answer.rows)
        np.testing.assert_array_equal(alone.scores, answer.scores)


@pytest.mark.parametrize(("kind", "factory"), APPROXIMATE)
def test_equal_rows_tie_and_stand_in_row_order(tmp_path, kind, factory):
    rows = np.repeat(clustered_rows(60), 25, axis=0)  # every row 25 times
    index = build_vector_index(kind, rows, folder=tmp_path, factory=factory).index
    for answer in index.search(QUERIES[:10], 50):
        assert len(set(answer.rows)) == 50
        assert list(answer.rows) == list(answer.rows[np.lexsort((answer.rows, -answer.scores))])
        assert len(set(answer.scores)) <= 3  # the nearest vectors, all of their copies


def test_the_copy_on_a_gpu_is_asked_only_what_it_can_answer(built):
    """A CPU index in the GPU's place, which fails where a classic GPU index fails silently."""

    class Strict:
        def __init__(self, index):
            self.index, self.query_count = index, 0

        def search(self, queries, wanted_count, params):
            assert params.sel is None and wanted_count <= 2048 and params.nprobe <= 2048
            self.query_count += len(queries)
            return self.index.search(queries, wanted_count, params=params)

    on_cpu = built["ivf", None].index
    copy = Strict(on_cpu.faiss_index)
    index = IvfIndexOnGpu(
        on_cpu.faiss_index, on_cpu.vectors, "ivf", on_cpu.search_parameters, on_gpu=copy
    )
    for wanted, allowed, is_asked in (
        (10, None, True),
        (10, MASKS["half"], False),
        (3000, None, True),
    ):
        copy.query_count = 0
        for one, other in zip(
            index.search(QUERIES, wanted, allowed=allowed),
            on_cpu.search(QUERIES, wanted, allowed=allowed),
            strict=True,
        ):
            np.testing.assert_array_equal(one.rows, other.rows)
        assert (copy.query_count > 0) == is_asked
