"""What no hash tells of: rows and ids that were swapped, counts, vectors, recall."""

import json
import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from index_builder.build import build_index
from index_builder.galleries.gallery import Gallery
from index_builder.galleries.manifest import Manifest, parse_record
from index_builder.galleries.tombstones import write_tombstones
from index_builder.index_folder.versions import IndexFolder
from index_builder.remove import remove_items
from index_builder.vector_index import IndexRequest, recall_at_10
from index_builder.verification import Report, verify_index
from index_builder.verification.findings import Check
from index_builder.verification.lookups import check_lookups
from index_builder.verification.opened import open_gallery
from index_builder.verification.recall import check_recall
from index_builder.verification.vectors import check_agreement
from index_builder.writing.change_draft import ChangeDraft
from tests.unit.index_builder.vector_index.clusters import clustered_rows, tuning_queries
from tests.unit.index_builder.verification.tampering import (
    redraw_background,
    refit,
    swap_ids,
    swap_in_background,
    swap_in_embeddings,
    swap_in_index,
    two_unlike_rows,
)
from tests.unit.index_builder.written_galleries import caption_items, write_gallery

KINDS = ["exact", "hnsw", "ivf"]
GALLERIES = ["images", "captions"]


def finders_of(report):
    return {f"{check.part}: {check.name}" for check in report.checks if check.problems}


def gallery_of(index, kind):
    (folder,) = index.glob(f"galleries/{kind}-*")
    return folder


def swapped(index, gallery, *swaps):
    """Swap two rows of a gallery in some of its files, with all hashes made to fit."""
    opened = IndexFolder(index).open()
    one = opened.gallery(gallery)
    rows, dim = two_unlike_rows(one), one.dim
    opened.close()
    folder = gallery_of(index, gallery)
    for swap in swaps:
        swap(folder, dim, rows)
    refit(index, folder)
    IndexFolder(index).open().close()  # nothing that opening compares tells of it
    return rows


@pytest.mark.parametrize("kind", KINDS)
def test_an_untouched_index_has_no_problem_and_nothing_in_it_is_written(built, kind):
    index = built(kind)

    def tree():
        found = sorted(index.rglob("*"))
        return [(path, path.lstat().st_mtime_ns, path.lstat().st_size) for path in (index, *found)]

    before = tree()
    report = verify_index(index)
    assert report.problems == []
    assert tree() == before
    parts = {check.part for check in report.checks}
    assert parts == {"index", "images", "captions", "checkpoint"}
    assert not [check for check in report.checks if check.notes or not check.looked_at]
    with IndexFolder(index).writing():
        assert verify_index(index, sample=0).problems == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gallery", GALLERIES)
@pytest.mark.parametrize("swap", [swap_in_index, swap_in_embeddings])
def test_rows_swapped_in_one_of_the_two_vector_files_are_found(copy, kind, gallery, swap):
    index = copy(kind)
    rows = swapped(index, gallery, swap)
    report = verify_index(index, sample=0)
    assert finders_of(report) >= {f"{gallery}: index.faiss against embeddings.f16"}
    (problem,) = [each for each in report.problems if "index.faiss are not those of" in each]
    assert all(str(row) in problem for row in rows)
    assert all(gallery in problem for problem in report.problems)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gallery", GALLERIES)
def test_rows_swapped_in_both_vector_files_are_found_in_the_sample(copy, kind, gallery):
    index = copy(kind)
    rows = swapped(index, gallery, swap_in_index, swap_in_embeddings, redraw_background)
    report = verify_index(index)
    assert finders_of(report) == {f"{gallery}: sample, encoded again"}
    (problem,) = report.problems
    assert all(f"row {row}" in problem for row in rows)
    assert verify_index(index, sample=0).problems == []


@pytest.mark.parametrize("gallery", GALLERIES)
def test_rows_swapped_in_the_background_sample_are_found(copy, gallery):
    index = copy()
    swapped(index, gallery, swap_in_background)
    report = verify_index(index, sample=0)
    assert finders_of(report) == {f"{gallery}: background.npy against embeddings.f16"}


@pytest.mark.parametrize("gallery", GALLERIES)
def test_swapped_ids_are_found_by_what_default_ids_are_made_of(copy, gallery):
    index = copy()
    swapped(index, gallery, swap_ids)
    assert finders_of(verify_index(index, sample=0)) == {f"{gallery}: ids"}


def test_rows_that_moved_and_second_ids_are_no_swapped_ids(world, tmp_path):
    lines = ["x", "y", "z", "a dog", "u", "v", "a dog", "q", "r", "s"]
    (tmp_path / "captions.txt").write_text("\n".join(lines))
    first, second, *_ = sorted(path.name for path in (world / "images").iterdir())
    rows = [{"path": first}, {"path": first, "id": "alias"}, {"path": second}]
    (tmp_path / "images.jsonl").write_text("\n".join(map(json.dumps, rows)))
    build_index(
        checkpoint=world / "checkpoint",
        images=tmp_path / "images.jsonl",
        images_root=world / "images",
        captions=tmp_path / "captions.txt",
        output=tmp_path / "index",
    )
    opened = IndexFolder(tmp_path / "index").open()
    # The first "a dog" comes to row 0, the second to row 3, where the first was.
    ids = list(opened.captions.ids_of_rows([0, 1, 2]).values())
    opened.close()
    assert remove_items(tmp_path / "index", captions=ids).captions.is_compacted
    assert verify_index(tmp_path / "index").problems == []


def test_swapped_ids_of_any_kind_are_found_by_the_hash_of_their_list(copy):
    index = copy()
    folder = gallery_of(index, "captions")
    before = json.loads((folder / "manifest.json").read_text())["item_list_sha256"]
    swap_ids(folder, 16, (3, 7))
    refit(index, folder, item_list_sha256=before)
    report = verify_index(index, sample=0)
    assert finders_of(report) == {"captions: ids"}
    assert any("the ids in items.sqlite have sha256" in problem for problem in report.problems)


@pytest.mark.parametrize(
    ("gallery", "file", "statement"),
    [
        ("captions", "columns.sqlite", "UPDATE entries SET start = 1 WHERE start = 0"),
        ("captions", "columns.sqlite", "DELETE FROM columns WHERE number = 1"),
        ("images", "columns.sqlite", "INSERT INTO columns VALUES (0, 'x', 'text', 0, x'')"),
        ("captions", "words.sqlite", "UPDATE words SET start = start + 1 WHERE start > 0"),
        ("captions", "words.sqlite", "UPDATE lengths SET counts = zeroblob(length(counts))"),
    ],
)
def test_lookups_that_are_not_those_of_the_items_are_found(copy, gallery, file, statement):
    index = copy()
    folder = gallery_of(index, gallery)
    connection = sqlite3.connect(folder / file)
    assert connection.execute(statement).rowcount
    connection.commit()
    connection.close()
    refit(index, folder)
    report = verify_index(index, sample=0)
    assert finders_of(report) == {f"{gallery}: columns and words"}
    assert f"{folder.name}/{file}: its " in report.problems[0]


@pytest.mark.parametrize("gone", [[0], [0, 1, 2], [9]])
def test_lookups_are_sound_after_removals_that_change_the_types_of_columns(tmp_path, gone):
    metadata = [{"year": "unknown", "only": 1}, {"year": 1900}, {"year": [1]}, *[{}] * 7]
    items = caption_items(10)
    items = [replace(item, metadata=each) for item, each in zip(items, metadata, strict=True)]
    opened = Gallery.open(write_gallery(tmp_path, clustered_rows(10), items))
    with ChangeDraft(tmp_path / ".draft", opened) as draft:
        draft.remove(gone)
        changed = draft.finish(tmp_path / "captions-1111111111111111")
    manifest = parse_record(Manifest, changed / "manifest.json")
    found = open_gallery(changed, manifest, None)
    check = Check("captions", "columns and words")
    check_lookups(found, check)
    assert check.problems == []
    if gone == [0, 1, 2]:
        assert manifest.columns == {}
    for each in (opened, found.gallery):
        each.close()


@pytest.mark.parametrize(
    ("gallery", "statement", "name"),
    [
        ("captions", "UPDATE items SET caption = 'another text' WHERE row = 5", "contents"),
        ("captions", "DELETE FROM items WHERE row = 5", "counts"),
        ("images", "DELETE FROM rejected", "counts"),
        ("captions", "UPDATE items SET row = 60 WHERE row = 5", "counts"),
        (
            "captions",
            "UPDATE items SET content_hash = (SELECT content_hash FROM items WHERE row = 6), "
            "caption = (SELECT caption FROM items WHERE row = 6) WHERE row = 5",
            "equal contents",
        ),
    ],
)
def test_items_that_contradict_the_rest_are_found(copy, gallery, statement, name):
    index = copy()
    folder = gallery_of(index, gallery)
    connection = sqlite3.connect(folder / "items.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()
    refit(index, folder)
    assert f"{gallery}: {name}" in finders_of(verify_index(index, sample=0))


def test_a_picture_without_a_thumbnail_is_found(copy):
    index = copy()
    folder = gallery_of(index, "images")
    connection = sqlite3.connect(folder / "thumbnails.sqlite")
    connection.execute("DELETE FROM thumbnails WHERE rowid = 3")
    connection.commit()
    connection.close()
    refit(index, folder)
    report = verify_index(index, sample=0)
    assert finders_of(report) == {"images: contents"}
    assert "at rows 2;" in report.problems[0]


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 2.0])
def test_a_vector_that_is_not_of_length_one_is_found(copy, value):
    index = copy("hnsw")
    folder = gallery_of(index, "captions")
    vectors = np.memmap(folder / "embeddings.f16", "<f2", "r+").reshape(-1, 16)
    vectors[7] *= value
    vectors.flush()
    refit(index, folder)
    report = verify_index(index, sample=0)
    assert "captions: lengths of vectors" in finders_of(report)
    assert any("vectors of rows 7 do not" in problem for problem in report.problems)


@pytest.mark.parametrize("kind", KINDS)
def test_removed_rows_are_no_problem_and_no_items(copy, kind):
    index = copy(kind)
    folder = gallery_of(index, "captions")
    write_tombstones(folder / "tombstones", np.array([2, 30]))
    redraw_background(folder, 16)
    refit(index, folder, count=58, tombstone_count=2, distinct_count=58)
    report = verify_index(index)
    assert report.problems == []
    told = {f"{check.part}: {check.name}": check.looked_at for check in report.checks}
    assert told["captions: counts"] == "58 items, 2 removed"
    assert told["captions: sample, encoded again"] == "58 of 58 captions"
    refit(index, folder, count=59, tombstone_count=1)
    assert "captions: counts" in finders_of(verify_index(index, sample=0))


def opened_clusters(folder, seed=0, **more):
    place = write_gallery(folder, clustered_rows(seed=seed), **more)
    manifest = Manifest.model_validate_json((place / "manifest.json").read_bytes())
    return open_gallery(place, manifest, None), manifest


def test_a_recall_below_the_manifests_is_found(tmp_path):
    opened, manifest = opened_clusters(tmp_path, index_kind="ivf")
    report = Report()
    with report.check("captions", "recall@10") as check:
        check_recall(opened, None, check)
    assert report.problems == []
    parameters = manifest.index.search_parameters
    assert parameters["nprobe"] > 1
    opened.index.set_parameters(nprobe=1)
    with report.check("captions", "recall@10") as check:
        check_recall(opened, None, check)
    assert "but manifest.json says" in report.problems[0]
    opened.gallery.close()


@pytest.mark.parametrize(("missing", "finds"), [(0.06, "note"), (0.105, "problem")])
def test_a_lower_recall_with_another_gallery_is_a_note_until_it_is_much_lower(
    tmp_path, missing, finds
):
    """Tuned with vectors of one gallery, measured with those of the one that came after it."""
    opened, manifest = opened_clusters(tmp_path / "one", index_kind="ivf", queries=tuning_queries())
    opened.index.set_parameters(nprobe=1)
    other, _ = opened_clusters(tmp_path / "other", seed=1)
    found = recall_at_10(opened.index, other.gallery.sample_vectors(1500))
    record = manifest.index.model_copy(
        update={
            "query_source": "images of the index",
            "recall_query_count": 1500,
            "recall_at_10": found + missing,
        }
    )
    opened.gallery.manifest = manifest.model_copy(update={"index": record})
    report = Report()
    with report.check("captions", "recall@10") as check:
        check_recall(opened, other, check)
    assert [bool(check.notes), bool(check.problems)] == [finds == "note", finds == "problem"]
    for one in (opened, other):
        one.gallery.close()


@pytest.mark.parametrize(
    ("factory", "note"),
    [
        ("SQ8", None),
        ("IVF16,PQ4x4fs", "FAISS cannot decode such codes"),
        ("IVF16,RaBitQ", "FAISS cannot decode such codes"),
        ("RaBitQ", "too far to tell one row from another"),
        ("PCA8,IVF16,SQ8", "too far to tell one row from another"),
    ],
)
def test_codes_that_cannot_be_compared_are_a_note_and_no_problem(tmp_path, factory, note, capfd):
    request = IndexRequest(factory=factory)
    opened, _ = opened_clusters(
        tmp_path, index_kind="factory", index=request, queries=tuning_queries()
    )
    report = Report()
    with report.check("captions", "agreement") as check:
        check_agreement(opened, check)
    assert report.problems == []
    assert [note in told for told in check.notes] == ([True] if note else [])
    opened.gallery.close()
