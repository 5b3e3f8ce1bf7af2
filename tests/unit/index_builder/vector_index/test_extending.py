"""An index that grew promises what one built at once promises."""

import faiss
import numpy as np
import pytest

from index_builder.vector_index import (
    TuningQueries,
    extend_vector_index,
    extending,
    recall_at_10,
)
from tests.unit.index_builder.vector_index.clusters import (
    COUNT,
    KINDS,
    build,
    clustered_rows,
)

ROWS = clustered_rows()
FIRST = COUNT - 300


def grown(kind, factory, folder, **more):
    before = build(kind, factory, folder / "before", rows=ROWS[:FIRST])
    (folder / "after").mkdir()
    after = extend_vector_index(
        before.index,
        before.record,
        folder / "before" / "index.faiss",
        ROWS[FIRST:],
        folder=folder / "after",
        **more,
    )
    return before, after


@pytest.mark.parametrize(("kind", "factory"), KINDS)
def test_rows_stay_where_they_are_and_new_ones_follow(tmp_path, kind, factory):
    before, after = grown(kind, factory, tmp_path)
    at_once = build(kind, factory, tmp_path / "at once")
    assert (after.index.count, after.record.kind) == (COUNT, kind)
    for name in ("embeddings.f16", *(["index.faiss"] if kind == "exact" else [])):
        assert (tmp_path / "after" / name).read_bytes() == (
            tmp_path / "at once" / name
        ).read_bytes()
    every = np.arange(COUNT)
    np.testing.assert_array_equal(after.index.vectors_of(every), at_once.index.vectors_of(every))
    assert after.record.recall_at_10 >= before.record.target_recall
    # A new row is found where it was put: as its own nearest neighbour.
    found = after.index.search(ROWS[FIRST:], 1)
    own = [int(answer.rows[0]) == row for row, answer in enumerate(found, FIRST)]
    assert np.mean(own) >= after.record.recall_at_10 - 0.02


@pytest.mark.parametrize(("kind", "factory"), KINDS)
def test_removed_rows_are_neither_found_nor_missed(tmp_path, kind, factory, exactly_only_tiny):
    live = np.random.default_rng(5).random(COUNT) < 0.85
    tuned_with = TuningQueries(clustered_rows(100, seed=1), "held-out rows")
    _, after = grown(kind, factory, tmp_path, live=live, queries=tuned_with)
    assert after.record.recall_at_10 == recall_at_10(after.index, tuned_with.rows, live)
    queries = clustered_rows(60, seed=9)
    # 60 queries against the 100 that were tuned with: what chance may take off.
    assert recall_at_10(after.index, queries, live) >= after.record.recall_at_10 - 0.03
    for answer in after.index.search(queries, 20, allowed=live):
        assert live[answer.rows].all()
    # The search is tuned for the rows that are left, not for the few that are gone.
    assert recall_at_10(after.index, queries, ~live) >= after.record.recall_at_10 - 0.05


def test_lists_are_learned_anew_when_the_gallery_has_outgrown_them(tmp_path):
    before = build("ivf", None, tmp_path / "before", rows=ROWS[:300])
    (tmp_path / "after").mkdir()
    after = extend_vector_index(
        before.index, before.record, tmp_path / "before/index.faiss", ROWS[300:],
        folder=tmp_path / "after",
    )  # fmt: skip
    lists = faiss.extract_index_ivf(faiss.read_index(str(tmp_path / "after/index.faiss"))).nlist
    assert after.record.factory == f"IVF{lists},SQ8" != before.record.factory
    build("ivf", None, tmp_path / "at once")
    assert (tmp_path / "after/index.faiss").read_bytes() == (
        tmp_path / "at once/index.faiss"
    ).read_bytes()


def test_appended_rows_are_read_as_one_store():
    store = extending._AppendedRows(ROWS[:7].astype(np.float16), ROWS[7:12])
    whole = np.concatenate([ROWS[:7].astype(np.float16).astype(np.float32), ROWS[7:12]])
    assert store.shape == whole.shape
    for start in range(13):
        for stop in range(start, 13):
            np.testing.assert_array_equal(store[start:stop], whole[start:stop])
    rows = np.array([11, 0, 6, 7, 7, 3])
    np.testing.assert_array_equal(store[rows], whole[rows])
