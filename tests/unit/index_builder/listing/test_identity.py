"""Sources without ids: what they name is found again in the index, and nothing else is touched."""

import shutil

import numpy as np
import pytest

from index_builder.add import add_items
from index_builder.build import build_index
from index_builder.listing.rejections import RejectionLimit
from index_builder.remove import remove_items
from index_builder.verification import verify_index
from model.errors import DataError
from model.identifiers import image_id_for_path
from tests.unit.data.layouts import REGION_DIM, captions_for, made_up_regions, write_scan
from tests.unit.index_builder.sources.layouts import write_lines
from tests.worlds import made_up_picture, tiny_checkpoint


@pytest.fixture
def add(index):
    return lambda **given: add_items(index.path, **given)


def captions_of(index):
    captions = index.open().captions
    items = captions.items(list(captions.ids_of_rows(captions.rows().tolist()).values()))
    return sorted((item.caption, item.image_id) for item in items.values())


def test_a_folder_changes_no_metadata_and_no_ids_of_a_table(build, index, photos, add, tmp_path):
    rows = [
        {"path": f"{number:02d}.png", "id": f"p{number}", "year": number} for number in range(3)
    ]
    build(images=write_lines(tmp_path / "t.jsonl", rows), images_root=photos)
    made_up_picture(30).save(photos / "01.png")
    report = add(images=photos)
    # Eight more pictures: of the twelve one is none, and three are there.
    assert (report.images.added_count, report.images.changed_count) == (8, 1)
    images = index.open().images
    assert [images.item(f"p{number}").metadata for number in range(3)] == [
        {"year": number} for number in range(3)
    ]
    assert images.ids_of_paths(["01.png", "07.png"]) == {
        "01.png": "p1", "07.png": image_id_for_path("07.png")
    }  # fmt: skip
    assert not add(images=photos).is_new_version


def test_a_table_changes_the_columns_that_it_has_and_no_other(build, index, photos, add, tmp_path):
    table = tmp_path / "t.jsonl"
    rows = [
        {"path": f"{number:02d}.png", "year": number, "title": f"picture {number}", "room": "a"}
        for number in range(3)
    ]
    build(images=write_lines(table, rows), images_root=photos)
    # An export of one column, with one of its cells empty.
    rooms = [{"path": "00.png", "room": "b"}, {"path": "01.png"}, {"path": "02.png", "room": "a"}]
    report = add(images=write_lines(table, rooms))
    assert report.images.changed_count == 2
    images = index.open().images
    found = [images.item(image_id_for_path(row["path"])).metadata for row in rows]
    assert found == [
        {"year": 0, "title": "picture 0", "room": "b"},
        {"year": 1, "title": "picture 1"},
        {"year": 2, "title": "picture 2", "room": "a"},
    ]
    assert not add(images=table).is_new_version


def test_lines_are_known_by_their_text_wherever_they_stand(build, index, add, tmp_path):
    source = tmp_path / "captions.txt"
    source.write_text("a dog\na cat\na dog\n")
    build(captions=source)
    source.write_text("a bird\na dog\na cat\na dog\n")
    report = add(captions=source)
    assert (report.captions.added_count, report.captions.changed_count) == (1, 0)
    assert [text for text, _ in captions_of(index)] == ["a bird", "a cat", "a dog", "a dog"]
    assert not add(captions=source).is_new_version


def test_the_same_text_of_another_picture_is_another_caption(build, index, add, tmp_path):
    first = write_lines(tmp_path / "a.jsonl", [{"caption": "a dog", "image_id": "p1"}])
    build(captions=first)
    other = write_lines(tmp_path / "b.jsonl", [{"caption": "a dog", "image_id": "q1"}])
    assert add(captions=other).captions.added_count == 1
    assert captions_of(index) == [("a dog", "p1"), ("a dog", "q1")]
    assert not add(captions=first).is_new_version
    # A source that names no pictures says nothing about them.
    (tmp_path / "c.txt").write_text("a dog\n")
    assert not add(captions=tmp_path / "c.txt").is_new_version


def test_a_root_that_the_pictures_did_not_move_to_is_refused(build, index, photos, add, tmp_path):
    build()
    more = tmp_path / "more"
    more.mkdir()
    made_up_picture(40).save(more / "40.png")
    with pytest.raises(DataError, match=r"11 of 11 pictures .* are not below .*more"):
        add(images=more, images_root=more)
    moved = tmp_path / "moved"
    shutil.move(photos, moved)
    made_up_picture(41).save(moved / "41.png")
    assert add(images=moved, images_root=moved).images.added_count == 1
    assert index.record().images_root == str(moved)


def test_an_array_without_ids_replaces_no_other_array(index, add, tmp_path):
    checkpoint = tiny_checkpoint(tmp_path, backbone=None, region_dim=REGION_DIM)
    first, other = (
        write_scan(tmp_path / name, "test", made_up_regions(5, seed=seed), captions_for(5))
        for name, seed in (("a", 0), ("b", 1))
    )
    build_index(checkpoint=checkpoint, images=first / "test_ims.npy", output=index.path)
    with pytest.raises(DataError, match="5 images of the array have ids that the index has"):
        add(images=other / "test_ims.npy")
    assert not add(images=first / "test_ims.npy").is_new_version
    (other / "test_ids.txt").write_text("".join(f"b{number}\n" for number in range(5)))
    assert add(images=other / "test_ims.npy").images.added_count == 5
    assert index.open().images.count == 10


def test_equal_captions_stay_equal_whatever_the_pictures_were_built_with(
    build, index, add, tmp_path
):
    captions = write_lines(tmp_path / "a.jsonl", [{"id": "c1", "caption": "a red circle"}])
    build(max_pixels=1_000_000)
    build(images=None, captions=captions)
    texts = ["a longer text than the others", "a red circle"]
    rows = [{"id": f"c{number}", "caption": text} for number, text in enumerate(texts, 2)]
    add(captions=write_lines(tmp_path / "b.jsonl", rows))
    vectors = index.open().captions.vectors(["c1", "c3"])
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert verify_index(index.path).problems == []


def test_what_a_source_sets_aside_counts_towards_the_limit(build, add, tmp_path, photos):
    captions = write_lines(tmp_path / "a.jsonl", [{"caption": ""}] * 9 + [{"caption": "a dog"}])
    with pytest.raises(DataError, match="more than 50% of 10 captions would be set aside, 9 of"):
        build(images=None, captions=captions, max_rejected=RejectionLimit("50%"))
    # One of twelve pictures cannot be read: a share of all of them, not of those that are new.
    build(max_rejected=RejectionLimit("10%"))
    assert not add(images=photos, max_rejected=RejectionLimit("10%")).is_new_version


def test_captions_of_a_picture_that_is_gone_already_can_go_too(build, index, tmp_path):
    rows = [{"id": f"c{number}", "caption": f"a {number}", "image": "00.png"} for number in (0, 1)]
    rows.append({"id": "c2", "caption": "a 2", "image": "01.png"})
    build(captions=write_lines(tmp_path / "a.jsonl", rows))
    gone = image_id_for_path("00.png")
    remove_items(index.path, images=[gone])
    remove_items(index.path, images=[gone], with_captions=True, ignore_missing=True)
    assert [text for text, _ in captions_of(index)] == ["a 2"]


def test_an_addition_that_compacts_says_so(build, index, photos, add):
    build()
    for number in (1, 2, 4, 5):
        made_up_picture(50 + number).save(photos / f"{number:02d}.png")
    report = add(images=photos)
    assert report.images.is_compacted and report.images.changed_count == 4
    assert index.open().images.row_count == 11
