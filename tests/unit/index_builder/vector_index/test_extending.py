"""An index that grew promises what one built at once promises."""

import faiss
import numpy as np
import pytest

from index_builder.vector_index import (
    extend_vector_index,
    extending,
    recall_at_10,
)
from tests.unit.index_builder.vector_index.clusters import (
    BEFORE,
    COUNT,
    KINDS,
    build,
    clustered_rows,
    tuning_queries,
)

ROWS = clustered_rows()


@pytest.fixture
def grown(built_before, tmp_path):
    """Return an index of a kind, and that to which the last rows were added."""

    def grow(kind, factory, **more):
        before, folder = built_before[kind, factory]
        after = extend_vector_index(
            before.index,
            before.record,
            folder / "index.faiss",
            ROWS[BEFORE:],
            folder=tmp_path,
            **more,
        )
        return before, after

    return grow


@pytest.mark.parametrize(("kind", "factory"), KINDS)
def test_rows_stay_where_they_are_and_new_ones_follow(
    built, folders, grown, tmp_path, kind, factory
):
    before, after = grown(kind, factory, queries=tuning_queries())
    at_once, folder = built[kind, factory], folders[kind, factory]
    assert (after.index.count, after.record.kind) == (COUNT, kind)
    for name in ("embeddings.f16", *(["index.faiss"] if kind == "exact" else [])):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    every = np.arange(COUNT)
    np.testing.assert_array_equal(after.index.vectors_of(every), at_once.index.vectors_of(every))
    assert after.record.recall_at_10 >= before.record.target_recall
    # A new row is found where it was put: as its own nearest neighbour.
    found = after.index.search(ROWS[BEFORE:], 1)
    own = [int(answer.rows[0]) == row for row, answer in enumerate(found, BEFORE)]
    assert np.mean(own) >= after.record.recall_at_10 - 0.02


@pytest.mark.parametrize(("kind", "factory"), KINDS)
def test_removed_rows_are_neither_found_nor_missed(grown, kind, factory, exactly_only_tiny):
    live = np.random.default_rng(5).random(COUNT) < 0.85
    tuned_with = tuning_queries()
    _, after = grown(kind, factory, live=live, queries=tuned_with)
    assert after.record.recall_at_10 == recall_at_10(after.index, tuned_with.rows, live)
    queries = clustered_rows(60, seed=9)
    # 60 queries against the 100 that were tuned with: what chance may take off.
    assert recall_at_10(after.index, queries, live) >= after.record.recall_at_10 - 0.03
    for answer in after.index.search(queries, 20, allowed=live):
        assert live[answer.rows].all()
    # The search is tuned for the rows that are left, not for the few that are gone.
    assert recall_at_10(after.index, queries, ~live) >= after.record.recall_at_10 - 0.05


def test_lists_are_learned_anew_when_the_gallery_has_outgrown_them(built, folders, tmp_path):
    before = build("ivf", None, tmp_path / "before", rows=ROWS[:300])
    (tmp_path / "after").mkdir()
    after = extend_vector_index(
        before.index, before.record, tmp_path / "before/index.faiss", ROWS[300:],
        folder=tmp_path / "after",
    )  # fmt: skip
    lists = faiss.extract_index_ivf(faiss.read_index(str(tmp_path / "after/index.faiss"))).nlist
    assert after.record.factory == f"IVF{lists},SQ8" != before.record.factory
    at_once = folders["ivf", None] / "index.faiss"
    assert (tmp_path / "after/index.faiss").read_bytes() == at_once.read_bytes()


def test_appended_rows_are_read_as_one_store():
    store = extending._AppendedRows(ROWS[:7].astype(np.float16), ROWS[7:12])
    whole = np.concatenate([ROWS[:7].astype(np.float16).astype(np.float32), ROWS[7:12]])
    assert store.shape == whole.shape
    for start in range(13):
        for stop in range(start, 13):
            np.testing.assert_array_equal(store[start:stop], whole[start:stop])
    rows = np.array([11, 0, 6, 7, 7, 3])
    np.testing.assert_array_equal(store[rows], whole[rows])
