"""What a search with a filter promises, on a gallery of each kind, for thick and thin filters."""

import numpy as np
import pytest

from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.lookups.filters import And, Comparison
from index_builder.vector_index import IndexRequest, TuningQueries, exact_scores
from tests.unit.index_builder.vector_index.clusters import clustered_rows
from tests.unit.index_builder.written_galleries import write_gallery

COUNT, DIM = 10_000, 16
KINDS = ["exact", "hnsw", "ivf"]
# Share of the rows that a filter fits.
SHARES = [0.0001, 0.01, 0.5]
QUERIES = clustered_rows(100, seed=5)
# Numbers from 0 in an order of their own: the first `share` of them is that share of the rows.
DRAWN = np.random.default_rng(7).permutation(COUNT)
# recall@10 of 100 queries is a mean of as many tenths; `verify` allows as much for other reasons.
RECALL_TOLERANCE = 0.01


@pytest.fixture(scope="module")
def galleries(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filtered")
    items = [
        Item(f"c{row}", row, caption="text", metadata={"drawn": int(drawn), "even": not row % 2})
        for row, drawn in enumerate(DRAWN)
    ]
    opened = {}
    for place, kind in enumerate(KINDS):
        written = write_gallery(
            folder, clustered_rows(COUNT, dim=DIM), items,
            name=f"captions-{place:016}", index_kind=kind, index=IndexRequest(kind=kind),
            queries=TuningQueries(clustered_rows(500, seed=1), "held-out rows"),
        )  # fmt: skip
        opened[kind] = Gallery.open(written)
    yield opened
    for gallery in opened.values():
        gallery.close()


@pytest.fixture(params=KINDS)
def gallery(request, galleries):
    return galleries[request.param]


def matching(gallery, share):
    mask = gallery.matching(Comparison("drawn", "lt", round(share * COUNT)))
    np.testing.assert_array_equal(mask.allowed, share * COUNT > DRAWN)
    return mask


def true_rows(gallery, query, rows, count):
    scores = exact_scores(query, gallery.index.vectors, rows)
    return rows[np.lexsort((rows, -scores))[:count]].tolist()


@pytest.mark.parametrize("share", SHARES)
def test_every_hit_fits_and_a_page_is_full_whenever_enough_rows_fit(gallery, share):
    mask = matching(gallery, share)
    for limit, offset in ((10, 0), (100, 0), (7, 95), (100, 900)):
        for hits in gallery.search(QUERIES[:20], limit, offset, allowed=mask):
            assert all(mask.allowed[hit.row] for hit in hits)
            assert len({hit.row for hit in hits}) == len(hits)
            assert len(hits) == min(limit, max(0, mask.count - offset))


@pytest.mark.parametrize(
    ("kind", "share"), [("exact", 0.5), *((kind, share) for kind in KINDS for share in SHARES[:2])]
)
def test_few_rows_and_the_exact_kind_are_brute_force_over_what_fits(galleries, kind, share):
    gallery = galleries[kind]
    mask = matching(gallery, share)
    for query, hits in zip(QUERIES, gallery.search(QUERIES, 100, allowed=mask), strict=True):
        assert [hit.row for hit in hits] == true_rows(gallery, query, mask.rows, 100)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.9])
def test_recall_over_what_fits_is_that_of_the_manifest(gallery, share, exactly_only_tiny):
    """Also where so few rows fit that all would be compared: here the kind searches them."""
    mask = matching(gallery, share)
    found = gallery.search(QUERIES, 10, allowed=mask)
    kept = [
        len({hit.row for hit in hits} & set(true_rows(gallery, query, mask.rows, 10))) / 10
        for query, hits in zip(QUERIES, found, strict=True)
    ]
    assert np.mean(kept) >= gallery.manifest.index.recall_at_10 - RECALL_TOLERANCE


def test_an_answer_is_the_same_whether_its_mask_was_kept_or_not(gallery):
    wanted = And((Comparison("drawn", "gte", COUNT // 2), Comparison("even", "eq", True)))
    first = gallery.search(QUERIES[:5], 10, allowed=gallery.matching(wanted))
    gallery._filters._kept.clear()
    assert gallery.search(QUERIES[:5], 10, allowed=gallery.matching(wanted)) == first
