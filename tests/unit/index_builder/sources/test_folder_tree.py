"""Folders of pictures, and reading files from below a root."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index_builder.sources import EntryError, ImageEntry, open_image_source
from index_builder.sources.images_root import way_to_both
from index_builder.sources.picture_file import MAX_PICTURE_BYTES
from model.errors import DataError
from model.identifiers import image_id_for_path
from tests.unit.index_builder.sources.layouts import listed, write_lines


@pytest.fixture
def photos(tmp_path):
    for name in ("b.jpg", "a.PNG", "sub/c.webp", ".hidden/d.jpg", ".e.jpg", "notes.txt"):
        place = tmp_path / "photos" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x")
    return tmp_path / "photos"


def paths_of(source):
    return [entry.path for entry in listed(source)[0]]


def code_of(source, path):
    with pytest.raises(EntryError) as caught:
        source.read(ImageEntry("id", path))
    assert caught.value.rejection.place == path
    return caught.value.rejection.code


def test_a_folder_is_read_in_the_order_of_its_paths_without_hidden_and_other_files(photos):
    source = open_image_source(photos)
    entries, rejected = listed(source)
    assert [entry.path for entry in entries] == ["a.PNG", "b.jpg", "sub/c.webp"]
    assert [entry.id for entry in entries] == [
        image_id_for_path(path) for path in ("a.PNG", "b.jpg", "sub/c.webp")
    ]
    assert (source.root, rejected) == (photos, [])


FOLDERS = st.lists(st.sampled_from(["a", "a-", "a.jpg", "a0", "é"]), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(st.sets(FOLDERS.map("/".join), min_size=1))
def test_the_order_is_that_of_the_sorted_paths(tmp_path_factory, folders):
    """`-` and `.` stand before `/`, digits and letters behind it."""
    root = tmp_path_factory.mktemp("tree")
    expected = []
    for folder in folders:
        place = root / folder
        place.mkdir(parents=True, exist_ok=True)
        for name in ("x.jpg", "a-.jpg", "a+.jpg"):
            (place / name).touch()
            expected.append(f"{folder}/{name}")
    assert paths_of(open_image_source(root)) == sorted(expected)


def test_paths_and_so_ids_are_relative_to_the_images_root(photos):
    entries, _ = listed(open_image_source(photos / "sub", photos))
    assert [entry.id for entry in entries] == [image_id_for_path("sub/c.webp")]
    with pytest.raises(DataError, match=r"does not lie below the images' root"):
        open_image_source(photos, photos / "sub")


def test_the_folder_that_holds_everything_is_no_way_out(tmp_path):
    assert way_to_both(Path("/a/b"), Path("/c")) == "put these pictures below /c"
    assert f"--images {tmp_path}:" in way_to_both(tmp_path / "a" / "b", tmp_path / "c")


def test_links_to_folders_are_not_entered_and_links_to_files_are_named(photos, tmp_path):
    (photos / "again").symlink_to(photos / "sub")
    (photos / "folder.jpg").symlink_to(photos / "sub")
    (photos / "circle.jpg").symlink_to(photos / "circle.jpg")
    (photos / "link.jpg").symlink_to(photos / "b.jpg")
    expected = ["a.PNG", "b.jpg", "circle.jpg", "link.jpg", "sub/c.webp"]
    assert paths_of(open_image_source(photos)) == expected


def test_names_that_are_not_utf8_are_set_aside_in_a_form_that_can_be_written(photos):
    (photos / os.fsdecode(b"f\xfc")).mkdir()
    for name in (b"b\xe4r.jpg", b"\xff.png", b"f\xfc/x.jpg"):
        (photos / os.fsdecode(name)).touch()
    entries, rejected = listed(open_image_source(photos))
    assert [entry.path for entry in entries] == ["a.PNG", "b.jpg", "sub/c.webp"]
    assert {(each.place, each.code, each.reason) for each in rejected} == {
        (place, "unreadable", "its name is not UTF-8; rename it")
        for place in (r"b\xe4r.jpg", r"\xff.png", r"f\xfc/x.jpg")
    }


def test_what_leads_out_of_the_root_or_cannot_be_read_is_told_by_its_code(photos, tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (photos / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (photos / "outside").symlink_to(tmp_path)
    (photos / "circle.jpg").symlink_to(photos / "circle.jpg")
    os.mkfifo(photos / "pipe.jpg")
    with (photos / "huge.jpg").open("wb") as file:
        file.truncate(MAX_PICTURE_BYTES + 1)
    (photos / "inside.jpg").symlink_to(photos / "b.jpg")
    source = open_image_source(photos)
    assert {path: code_of(source, path) for path in (
        "out.jpg", "outside/secret.jpg", "../secret.jpg", "nowhere.jpg", "b.jpg/x.jpg", "sub",
        "circle.jpg", "pipe.jpg", "huge.jpg", "n" * 300 + ".jpg",
    )} == {
        "out.jpg": "outside_root",
        "outside/secret.jpg": "outside_root",
        "../secret.jpg": "outside_root",
        "nowhere.jpg": "missing",
        "b.jpg/x.jpg": "unreadable",
        "sub": "unreadable",
        "circle.jpg": "unreadable",
        "pipe.jpg": "unreadable",
        "huge.jpg": "too_large",
        "n" * 300 + ".jpg": "unreadable",
    }  # fmt: skip
    assert source.read(ImageEntry("id", "inside.jpg")) == b"x"


def test_a_table_reads_below_its_root_alone_likewise(photos, tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (photos / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    file = write_lines(tmp_path / "images.jsonl", [{"path": "out.jpg"}, {"path": "b.jpg"}])
    source = open_image_source(file, photos)
    assert code_of(source, "out.jpg") == "outside_root"
    assert source.read(listed(source)[0][1]) == b"x"
    with pytest.raises(DataError, match="is no folder; give another --images-root"):
        open_image_source(file, photos / "nowhere")
