import json

import numpy as np
import pytest

from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import ItemStore
from index_builder.galleries.manifest import ColumnTypes
from model.errors import GalleryIndexError
from tests.unit.index_builder.written_galleries import (
    brute_force,
    caption_items,
    open_gallery,
    unit_rows,
    write_gallery,
)

VECTORS = unit_rows(30)
QUERIES = unit_rows(3, seed=1)


@pytest.fixture
def gallery(tmp_path):
    opened = open_gallery(tmp_path, VECTORS)
    yield opened
    opened.close()


def test_hits_are_the_rows_of_brute_force_with_ids_and_ranks(gallery):
    for query, hits in zip(QUERIES, gallery.search(QUERIES, 7), strict=True):
        expected = brute_force(query, VECTORS)[:7]
        assert [(hit.row, hit.score) for hit in hits] == expected
        assert [hit.item_id for hit in hits] == [f"c{row}" for row, _ in expected]
        assert [hit.rank for hit in hits] == list(range(1, 8))


@pytest.mark.parametrize(("limit", "offset"), [(1, 0), (4, 3), (10, 25), (5, 30), (500, 500)])
def test_paging_by_offset_is_slicing(gallery, limit, offset):
    everything = gallery.search(QUERIES, 1000)
    for whole, page in zip(everything, gallery.search(QUERIES, limit, offset), strict=True):
        assert page == whole[offset : offset + limit]


@pytest.mark.parametrize(("limit", "offset"), [(0, 0), (1, -1), (1, 1000), (1001, 0)])
def test_limits_out_of_range_are_refused(gallery, limit, offset):
    with pytest.raises(GalleryIndexError, match=r"at most 1000 together"):
        gallery.search(QUERIES, limit, offset)


def test_queries_of_another_width_or_with_nan_are_refused(gallery):
    with pytest.raises(GalleryIndexError, match=r"16-d"):
        gallery.search(unit_rows(1, dim=8), 1)
    with pytest.raises(GalleryIndexError, match=r"NaN"):
        gallery.search(np.full((1, 16), np.nan, dtype=np.float32), 1)
    assert gallery.search(np.empty((0, 16), dtype=np.float32), 1) == []


def test_items_come_in_the_order_asked_and_unknown_ids_are_left_out(gallery):
    assert list(gallery.items(["c9", "nobody", "c2"])) == ["c9", "c2"]
    assert gallery.item("c9").caption == "caption 9"
    assert gallery.item("nobody") is None


def test_vectors_are_the_stored_ones_in_the_order_asked(gallery):
    np.testing.assert_array_equal(gallery.vectors(["c5", "c1"]), VECTORS[[5, 1]])
    with pytest.raises(GalleryIndexError, match=r"nobody"):
        gallery.vectors(["c5", "nobody"])


def test_half_precision_vectors_lie_beside_the_index(gallery):
    stored = np.memmap(gallery.folder / "embeddings.f16", dtype="<f2", shape=(30, 16))
    np.testing.assert_allclose(stored, VECTORS, atol=1e-3)  # 11 bits of mantissa


@pytest.mark.parametrize("name", ["index.faiss", "embeddings.f16", "items.sqlite"])
def test_a_changed_byte_is_refused_with_both_hashes(tmp_path, name):
    folder = write_gallery(tmp_path, VECTORS)
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(GalleryIndexError, match=f"{name} has sha256 .* but manifest.json says"):
        Gallery.open(folder)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"dim": 32}, "index.faiss is 16-d but manifest.json says 32-d"),
        ({"count": 31, "row_count": 31}, "index.faiss holds 30 rows but manifest.json says 31"),
        ({"count": 31}, "do not add up to row_count"),
        ({"gallery": "captions-1"}, "says 'captions-1' but lies in"),
        ({"item_list_sha256": "0" * 64}, "ids in items.sqlite have sha256"),
        ({"kind": "images"}, "lists .* but a gallery of images has"),
        ({"metric": "l2"}, "was edited or written by another release"),
        ({"surprise": 1}, "was edited or written by another release"),
        ({"tombstone_count": 1}, "do not add up to row_count"),
        ({"tombstone_count": 1, "count": 29}, "tombstones holds 0 rows but manifest.json says 1"),
    ],
)
def test_an_edited_manifest_is_refused_naming_what_differs(tmp_path, edit, message):
    place = write_gallery(tmp_path, VECTORS) / "manifest.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | edit))
    with pytest.raises(GalleryIndexError, match=message):
        Gallery.open(place.parent)


def test_a_gallery_that_is_refused_leaves_no_file_open(tmp_path, monkeypatch):
    stores = []

    class Recorded(ItemStore):
        def __init__(self, *given):
            super().__init__(*given)
            stores.append(self)

    monkeypatch.setattr("index_builder.galleries.gallery.ItemStore", Recorded)
    place = write_gallery(tmp_path, VECTORS) / "manifest.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"item_list_sha256": "0" * 64}))
    with pytest.raises(GalleryIndexError, match="have sha256"):
        Gallery.open(place.parent)
    (items,) = stores
    with pytest.raises(GalleryIndexError, match="closed"):
        items.count()


def test_missing_and_shortened_files_are_refused(tmp_path):
    folder = write_gallery(tmp_path, VECTORS)
    (folder / "embeddings.f16").write_bytes(b"12")
    told = r"has 2 bytes but manifest.json says 960; .*verify.*rollback.*backup.*build the index"
    with pytest.raises(GalleryIndexError, match=told):
        Gallery.open(folder)
    (folder / "embeddings.f16").unlink()
    with pytest.raises(GalleryIndexError, match=r"missing"):
        Gallery.open(folder)


def test_a_gallery_is_never_written_to_by_reading(tmp_path):
    folder = write_gallery(tmp_path, VECTORS)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    gallery = Gallery.open(folder)
    gallery.search(QUERIES, 3)
    folder.chmod(0o755)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_metadata_comes_back_and_its_columns_are_typed(tmp_path):
    tags = [["a", "b"], []] * 15
    gallery = open_gallery(tmp_path, VECTORS, caption_items(30, year=list(range(30)), tags=tags))
    assert gallery.item("c4").metadata == {"year": 4, "tags": ["a", "b"]}
    assert gallery.manifest.columns == {"year": "integer", "tags": "text_list"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, None, 2.5], "number"), ([True, False], "boolean"), ([1, True], "json"),
        (["a", None], "text"), ([None], "text"), ([[1], [2.5]], "number_list"), ([[]], "text_list"),
        ([["a"], "a"], "json"), ([{"x": 1}], "json"), ([[{"x": 1}]], "json"),
        ([[True]], "boolean_list"),
    ],
)  # fmt: skip
def test_a_column_gets_the_type_that_fits_every_value(values, expected):
    columns = ColumnTypes()
    for value in values:
        columns.add({"column": value})
    assert columns.types() == {"column": expected}


def test_scores_of_rows_are_those_that_a_search_gives(gallery):
    query = unit_rows(1, seed=5)[0]
    (hits,) = gallery.search(query[None], 20)
    rows = np.array([hit.row for hit in hits])[::-1]
    assert gallery.scores_of_rows(query, rows).tolist() == [hit.score for hit in hits][::-1]


def test_captions_are_found_by_the_images_that_they_name(gallery):
    rows = [7, 3, 4]
    items = gallery.items_at(rows)
    assert {row: item.id for row, item in items.items()} == {row: f"c{row}" for row in rows}
    assert gallery.image_ids_of_rows([*rows, 99]) == {3: "i1", 4: "i2", 7: "i3"}
    assert sorted(gallery.rows_naming(["i3", "i1", "unknown"])) == [
        ("i1", 2), ("i1", 3), ("i3", 6), ("i3", 7),
    ]  # fmt: skip
