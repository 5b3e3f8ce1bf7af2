"""What is added is found; what did not change is neither read, nor encoded, nor written again."""

import json
import os
import re
import resource

import numpy as np
import pytest
from PIL import Image

from index_builder.add import add_items
from index_builder.encoding.work import WorkFolder
from index_builder.index_folder.versions import IndexFolder
from model.errors import ConfigError, DataError, GalleryIndexError
from model.identifiers import image_id_for_path
from tests.unit.index_builder.sources.layouts import write_lines, write_samples
from tests.unit.index_builder.stopping import PART_SIZE, StoppedError, stop
from tests.unit.index_builder.written_galleries import served_files
from tests.worlds import made_up_picture

FILES = ("index.faiss", "embeddings.f16", "items.sqlite", "thumbnails.sqlite")


@pytest.fixture
def add(index, photos):
    def run(**changes):
        given = {"images": photos, "part_size": PART_SIZE}
        return add_items(index.path, **(given | changes))

    return run


def id_of(name):
    return image_id_for_path(f"{name}.png")


def images_of(index):
    return index.open().images


def vectors(gallery, names):
    return gallery.vectors([id_of(name) for name in names])


def spoil_unnoticed(path):
    """Replace what a file holds, so that only who reads it can tell."""
    status = path.stat()
    path.write_bytes(b"?" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def linked(before, after):
    return {name for name in FILES if (before / name).stat().st_ino == (after / name).stat().st_ino}


def test_new_pictures_are_added_and_nothing_else_is_read_or_encoded(
    build, add, index, photos, encoded, tmp_path
):
    build()
    before = images_of(index)
    for number in (20, 21):
        made_up_picture(number).save(photos / f"{number}.png")
    build("at once")
    spoil_unnoticed(photos / "04.png")
    encoded.count = 0
    report = add()
    assert (report.images.added_count, report.images.changed_count) == (2, 0)
    assert encoded.count == 2
    after, at_once = images_of(index), images_of(IndexFolder(tmp_path / "at once"))
    assert (after.count, after.row_count) == (at_once.count, at_once.row_count) == (13, 13)
    for name in ("00", "04", "11", "20", "21"):
        item = after.item(id_of(name))
        found, expected = vectors(after, [name]), vectors(at_once, [name])
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert item.content_hash == at_once.item(id_of(name)).content_hash
        assert after.thumbnail(item.id) == at_once.thumbnail(item.id) is not None
    np.testing.assert_array_equal(
        after.vectors_of_rows(np.arange(before.row_count)),
        before.vectors_of_rows(np.arange(before.row_count)),
    )
    assert {(each.place, each.code) for each in after.rejected()} == {("03.png", "unreadable")}
    assert report.version == 2 and index.open(1).images.count == 11


def test_another_content_gets_a_new_row_and_the_old_one_is_found_no_more(
    build, add, index, photos, encoded
):
    build()
    before = images_of(index)
    old_row, old_vector = before.item(id_of("05")).row, vectors(before, ["05"])
    made_up_picture(30).save(photos / "05.png")
    made_up_picture(0).save(photos / "07.png")  # what 00 and 11 show: nothing to encode
    encoded.count = 0
    report = add()
    assert (report.images.added_count, report.images.changed_count) == (0, 2)
    assert encoded.count == 1
    after = images_of(index)
    assert (after.count, after.row_count, after.manifest.tombstone_count) == (11, 13, 2)
    assert not np.allclose(vectors(after, ["05"]), old_vector)
    np.testing.assert_array_equal(vectors(after, ["07"]), vectors(after, ["00"]))
    (hits,) = after.search(old_vector, 20)
    assert old_row not in [hit.row for hit in hits]
    assert len({hit.item_id for hit in hits}) == len(hits) == 11
    # 06 still shows what 05 showed.
    assert hits[0].item_id == id_of("06")


def test_nothing_new_makes_no_version(build, add, index, photos, encoded):
    build()
    files = served_files(index.path)
    encoded.count = 0
    report = add()
    assert (report.version, report.is_new_version, encoded.count) == (1, False, 0)
    assert served_files(index.path) == files
    assert sorted(path.name for path in index.galleries.iterdir()) == [images_of(index).folder.name]


def test_a_file_that_was_only_touched_is_read_once_more_and_then_no_more(
    build, add, index, photos, encoded
):
    build()
    before = images_of(index).folder
    encoded.count = 0
    for path in photos.iterdir():
        path.touch()
    report = add()
    assert (report.images.added_count, report.images.changed_count, encoded.count) == (0, 0, 0)
    assert linked(before, images_of(index).folder) == set(FILES) - {"items.sqlite"}
    for path in photos.iterdir():
        spoil_unnoticed(path)
    assert not add().is_new_version


def test_other_metadata_of_the_same_picture_leaves_the_vectors_on_the_disk(
    build, add, index, photos, tmp_path
):
    table = tmp_path / "table.jsonl"
    rows = [{"path": f"{number:02d}.png", "year": number} for number in range(6)]
    build(images=write_lines(table, rows), images_root=photos)
    before = images_of(index)
    rows[2]["year"] = "unknown"
    rows[4]["place"] = "Rome"
    for path in photos.iterdir():
        spoil_unnoticed(path)
    report = add(images=write_lines(table, rows))
    assert (report.images.added_count, report.images.changed_count) == (0, 2)
    after = images_of(index)
    assert linked(before.folder, after.folder) == set(FILES) - {"items.sqlite"}
    assert after.item(id_of("02")).metadata == {"year": "unknown"}
    assert after.item(id_of("04")).metadata == {"year": 4, "place": "Rome"}
    assert before.manifest.columns == {"year": "integer"}
    assert after.manifest.columns == {"year": "json", "place": "text"}
    assert after.manifest.index == before.manifest.index


def test_what_the_source_does_not_name_stays_and_what_cannot_be_read_is_noted_once(
    build, add, index, photos, tmp_path
):
    build()
    (photos / "more").mkdir()
    made_up_picture(40).save(photos / "more" / "40.png")
    (photos / "more" / "41.png").write_text("no picture")
    report = add(images=photos / "more")
    assert (report.images.added_count, report.images.count) == (1, 12)
    places = {"03.png": "unreadable", "more/41.png": "unreadable"}
    assert {each.place: each.code for each in images_of(index).rejected()} == places
    assert not add(images=photos / "more").is_new_version
    Image.new("RGB", (9, 9)).save(photos / "more" / "41.png")
    add(images=photos / "more")
    assert [each.place for each in images_of(index).rejected()] == ["03.png"]
    lines = (index.path / "rejected.jsonl").read_text().splitlines()
    assert [json.loads(line)["source"] for line in lines] == ["03.png"]


def test_captions_are_added_to_their_own_gallery_and_name_pictures_by_path(
    build, add, index, tmp_path
):
    captions = tmp_path / "captions.jsonl"
    rows = [{"id": f"c{number}", "caption": f"a {number}", "image": f"{number:02d}.png"}
            for number in range(3)]  # fmt: skip
    build(captions=write_lines(captions, rows))
    first = index.open()
    rows[0]["caption"] = "another one"
    rows[1]["image"] = "05.png"
    rows.append({"id": "c9", "caption": "a 2", "image": "09.png"})
    report = add(images=None, captions=write_lines(captions, rows))
    assert report.images is None
    assert (report.captions.added_count, report.captions.changed_count) == (1, 2)
    now = index.open()
    assert now.images.folder == first.images.folder
    texts = {f"c{n}": now.captions.item(f"c{n}") for n in (0, 1, 2, 9)}
    assert {each: item.caption for each, item in texts.items()} == {
        "c0": "another one", "c1": "a 1", "c2": "a 2", "c9": "a 2"
    }  # fmt: skip
    assert texts["c1"].image_id == id_of("05") and texts["c9"].image_id == id_of("09")
    assert texts["c1"].row == first.captions.item("c1").row
    same = now.captions.vectors(["c2", "c9"])
    np.testing.assert_array_equal(same[0], same[1])


def test_the_first_captions_are_a_new_gallery(build, add, index, tmp_path):
    build()
    (tmp_path / "captions.txt").write_text("red\nblue\n")
    report = add(images=None, captions=tmp_path / "captions.txt")
    assert (report.captions.added_count, report.captions.count) == (2, 2)
    assert index.open().images.count == 11


def test_pictures_of_shards_are_read_again_only_where_their_shard_changed(
    build, add, index, photos, encoded
):
    rows = [{"path": f"{number:02d}.png"} for number in range(12) if number != 3]
    shards = write_samples(photos, rows)
    build(images=shards)
    assert not add(images=shards).is_new_version
    os.utime(shards / "part-001.tar", ns=(0, 5))
    encoded.count = 0
    report = add(images=shards)
    assert (report.images.added_count, report.images.changed_count, encoded.count) == (0, 0, 0)
    assert not add(images=shards).is_new_version


@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_addition_that_was_stopped_goes_on_to_the_same_bytes(
    build, add, index, photos, encoded, tmp_path, at
):
    build()
    build("clean")
    for number in range(20, 30):
        made_up_picture(number).save(photos / f"{number}.png")
    made_up_picture(31).save(photos / "02.png")
    add_items(tmp_path / "clean", images=photos, part_size=PART_SIZE)
    stop(add, encoded, at=at)
    assert images_of(index).count == 11
    add()
    # 10 new, 1 changed, 1 that cannot be read: three parts, of which the first ones are there.
    assert encoded.count == 11 - [0, 3, 7][at - 1]
    assert served_files(index.path) == served_files(tmp_path / "clean")
    assert not list(index.galleries.glob(".*"))


def test_a_kill_just_after_the_switch_leaves_nothing_for_good(
    build, add, index, photos, monkeypatch
):
    build()
    made_up_picture(20).save(photos / "20.png")
    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "remove", _stop)
        with pytest.raises(StoppedError):
            add()
    assert index.current() == 2 and list(index.galleries.glob(".work-*"))
    assert not add().is_new_version
    assert not list(index.galleries.glob(".*"))


def _stop(*_):
    raise StoppedError


def test_a_picture_that_goes_away_keeps_its_item(build, add, index, photos, tmp_path):
    table = write_lines(tmp_path / "t.jsonl", [{"path": f"{n:02d}.png"} for n in range(3)])
    build(images=table, images_root=photos)
    (photos / "01.png").unlink()
    report = add(images=table)
    assert (report.images.count, report.images.rejected_count) == (3, 1)
    assert images_of(index).item(id_of("01")) is not None


def test_what_cannot_be_is_refused_and_nothing_changes(build, add, index, photos, tmp_path):
    with pytest.raises(GalleryIndexError, match="holds no index"):
        add()
    assert not index.path.exists()
    build()
    files = served_files(index.path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    made_up_picture(1).save(elsewhere / "1.png")
    with pytest.raises(DataError, match="does not lie below the images' root"):
        add(images=elsewhere)
    with pytest.raises(ConfigError, match="give at least one"):
        add(images=None)
    for path in (index.path / "checkpoints").rglob("model.safetensors"):
        path.unlink()
    with pytest.raises(Exception, match=r"model\.safetensors"):
        add()
    assert served_files(index.path) == files


def test_pictures_of_another_folder_come_in_by_a_build_of_the_folder_that_holds_both(
    build, add, index, photos, encoded, tmp_path
):
    build()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    made_up_picture(77).save(elsewhere / "1.png")
    way_out = f"build again with the folder that holds both, --images {tmp_path}: what is known"
    for given in ({}, {"images_root": elsewhere}, {"images_root": tmp_path}):
        with pytest.raises(DataError, match=re.escape(way_out)):
            add(images=elsewhere, **given)
    encoded.count = 0
    build(images=tmp_path)
    assert (images_of(index).count, encoded.count) == (12, 1)


def test_pictures_that_moved_are_told_to_need_another_root(build, add, photos, tmp_path):
    build()
    photos.rename(tmp_path / "moved")
    with pytest.raises(DataError, match="if the pictures moved, say where to with --images-root"):
        add(images=tmp_path / "moved")
    report = add(images=tmp_path / "moved", images_root=tmp_path / "moved")
    assert (report.images.count, report.images.added_count) == (11, 0)


@pytest.mark.parametrize("limit_bytes", [100, 3_000, 20_000, 28_000])
def test_a_full_disk_is_one_sentence_and_leaves_the_old_version(
    build, add, index, photos, limit_bytes, capsys
):
    """The limit on file size stands for a full disk, and `capsys` keeps prints in memory."""
    build()
    files = served_files(index.path)
    for number in range(20, 26):
        made_up_picture(number).save(photos / f"{number}.png")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        with pytest.raises(GalleryIndexError, match="cannot write"):
            add()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert served_files(index.path) == files
    assert add().images.added_count == 6


def test_two_writers_at_once_are_one_sentence(build, add, index):
    build()
    with index.writing(), pytest.raises(GalleryIndexError, match="another process is writing"):
        add()
