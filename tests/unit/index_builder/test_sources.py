import json

import pytest

from index_builder.sources import read_captions, read_images
from model.errors import DataError
from model.identifiers import caption_id, image_id_for_path


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def photos(tmp_path):
    for name in ("b.jpg", "a.PNG", "sub/c.webp", ".hidden/d.jpg", ".e.jpg", "notes.txt"):
        place = tmp_path / "photos" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x")
    return tmp_path / "photos"


def test_a_folder_is_read_in_the_order_of_its_paths_without_hidden_and_other_files(photos):
    found = read_images(photos)
    assert [entry.path for entry in found.entries] == ["a.PNG", "b.jpg", "sub/c.webp"]
    assert [entry.id for entry in found.entries] == [
        image_id_for_path(path) for path in ("a.PNG", "b.jpg", "sub/c.webp")
    ]
    assert found.root == photos


def test_paths_and_so_ids_are_relative_to_the_images_root(photos):
    found = read_images(photos / "sub", photos)
    assert [entry.id for entry in found.entries] == [image_id_for_path("sub/c.webp")]
    with pytest.raises(DataError, match=r"does not lie below the images' root"):
        read_images(photos, photos / "sub")


def test_a_list_of_images_keeps_its_order_ids_and_metadata(photos):
    rows = [{"path": "sub/c.webp", "id": "third", "year": 2020}, {"path": "./b.jpg"}]
    found = read_images(write_lines(photos / "images.jsonl", rows))
    assert [(entry.id, entry.path) for entry in found.entries] == [
        ("third", "sub/c.webp"),
        (image_id_for_path("b.jpg"), "b.jpg"),
    ]
    assert found.entries[0].metadata == {"year": 2020}
    assert found.root == photos
    assert read_images(photos / "images.jsonl", photos / "sub").root == photos / "sub"


def test_every_problem_of_a_list_is_told_with_its_line(tmp_path):
    source = tmp_path / "images.jsonl"
    source.write_text(
        '{"path": "../x.jpg"}\n{"path": "/x.jpg"}\nnot json\n[1]\n{"id": "a"}\n\n'
        '{"path": "x.jpg", "id": "a b"}\n{"path": "x.jpg", "score": NaN}\n{"path": "good.jpg"}\n'
    )
    with pytest.raises(DataError) as caught:
        read_images(source)
    message = str(caught.value)
    assert "has 7 problems" in message
    for line in (1, 2, 3, 4, 5, 7, 8):
        assert f"images.jsonl:{line}: " in message
    assert "images.jsonl:9" not in message


def test_duplicate_ids_are_listed_with_their_places(tmp_path):
    rows = [{"path": f"{n}.jpg", "id": i} for n, i in enumerate(["a", "b", "a", "c", "b", "a"])]
    with pytest.raises(DataError) as caught:
        read_images(write_lines(tmp_path / "images.jsonl", rows))
    assert "id 'a' stands 3 times, as items 1, 3, 6" in str(caught.value)
    assert "id 'b' stands 2 times, as items 2, 5" in str(caught.value)
    assert "'c'" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "does not exist"),
        (lambda place: place.mkdir(), "holds no picture"),
        (lambda place: place.write_text("x"), "a folder of pictures, a .jsonl file"),
    ],
)
def test_a_source_without_pictures_is_one_clear_sentence(tmp_path, make, message):
    place = tmp_path / "source"
    make(place)
    with pytest.raises(DataError, match=message):
        read_images(place)


def test_text_captions_are_one_a_line_and_equal_ones_have_ids_of_their_own(tmp_path):
    source = tmp_path / "captions.txt"
    source.write_bytes("\ufeffa dog \n\n  a café\r\na dog\n".encode())
    found = read_captions(source)
    assert [entry.text for entry in found.entries] == ["a dog", "a café", "a dog"]
    assert [entry.id for entry in found.entries] == [
        caption_id("a dog", 0), caption_id("a café", 1), caption_id("a dog", 2)
    ]  # fmt: skip


def test_caption_rows_name_their_picture_by_id_or_by_path(tmp_path):
    rows = [
        {"caption": "one", "id": "c1", "image_id": "i1", "lang": "en"},
        {"caption": "two", "image": "./a/b.jpg"},
        {"captions": ["three", "four"], "image": "c.jpg"},
        {"captions": ["five"], "id": "i5", "filename": "d.jpg"},
        {"captions": ["six", "seven"], "id": "g", "image_id": 7},
    ]
    entries = read_captions(write_lines(tmp_path / "captions.jsonl", rows)).entries
    assert [(e.text, e.image_id, e.image_path) for e in entries] == [
        ("one", "i1", None),
        ("two", None, "a/b.jpg"),
        ("three", None, "c.jpg"),
        ("four", None, "c.jpg"),
        ("five", "i5", "d.jpg"),
        ("six", "7", None),
        ("seven", "7", None),
    ]
    assert [e.id for e in entries] == [
        "c1", caption_id("two", 1), caption_id("three", 2), caption_id("four", 3),
        caption_id("five", 4), "g.0", "g.1",
    ]  # fmt: skip
    assert entries[0].metadata == {"lang": "en"}


def test_empty_captions_are_set_aside_with_their_place(tmp_path):
    rows = [{"caption": "one"}, {"captions": ["  ", "two"]}]
    found = read_captions(write_lines(tmp_path / "captions.jsonl", rows))
    assert [entry.text for entry in found.entries] == ["one", "two"]
    assert [(r.place, r.code) for r in found.rejected] == [("captions.jsonl:2", "empty")]


@pytest.mark.parametrize(
    "row",
    [
        {"text": "a dog"},
        {"caption": 5},
        {"captions": "a dog"},
        {"caption": "a", "captions": ["a"]},
        {"caption": "a", "image": "../a.jpg"},
        {"caption": "a", "image_id": "no spaces please"},
        {"caption": "a", "id": 1.5},
    ],
)
def test_a_caption_row_that_cannot_be_used_is_named(tmp_path, row):
    source = write_lines(tmp_path / "captions.jsonl", [{"caption": "fine"}, row])
    with pytest.raises(DataError, match=r"captions.jsonl:2: "):
        read_captions(source)


def test_captions_without_words_or_not_in_utf8_are_one_sentence(tmp_path):
    source = tmp_path / "captions.txt"
    source.write_text("\n \n")
    with pytest.raises(DataError, match="holds no caption"):
        read_captions(source)
    source.write_bytes("ein Bär".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        read_captions(source)
    with pytest.raises(DataError, match=r"a \.txt or \.jsonl file"):
        read_captions(tmp_path)
