"""Captions in text files and in rows."""

import pytest

from index_builder.sources import open_caption_source
from model.errors import DataError
from model.identifiers import caption_id
from tests.unit.data.layouts import captions_for, made_up_regions, write_scan
from tests.unit.index_builder.sources.layouts import listed, write_lines


def entries_of(file):
    return listed(open_caption_source(file))[0]


def test_text_captions_are_one_a_line_and_equal_ones_have_ids_of_their_own(tmp_path):
    source = tmp_path / "captions.txt"
    source.write_bytes("\ufeffa dog \n\n  a café\r\na dog\n".encode())
    entries = entries_of(source)
    assert [entry.text for entry in entries] == ["a dog", "a café", "a dog"]
    assert [entry.id for entry in entries] == [
        caption_id("a dog", 0), caption_id("a café", 1), caption_id("a dog", 2)
    ]  # fmt: skip


def test_captions_beside_a_region_array_name_its_images(tmp_path):
    folder = write_scan(tmp_path / "precomp", "test", made_up_regions(3), captions_for(3, 2))
    expected = [f"test-{image}" for image in range(3) for _ in range(2)]
    assert [entry.image_id for entry in entries_of(folder / "test_caps.txt")] == expected
    (folder / "test_ims.npy").unlink()
    assert {entry.image_id for entry in entries_of(folder / "test_caps.txt")} == {None}


def test_caption_rows_name_their_picture_by_id_or_by_path(tmp_path):
    rows = [
        {"caption": "one", "id": "c1", "image_id": "i1", "lang": "en"},
        {"caption": "two", "image": "./a/b.jpg"},
        {"captions": ["three", "four"], "image": "c.jpg"},
        {"captions": ["five"], "id": "i5", "filename": "d.jpg"},
        {"captions": ["six", "seven"], "id": "g", "image_id": 7},
    ]
    entries = entries_of(write_lines(tmp_path / "captions.jsonl", rows))
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
    rows = [{"caption": "one"}, {"captions": ["  ", "two"]}, {"caption": None}]
    entries, rejected = listed(open_caption_source(write_lines(tmp_path / "captions.jsonl", rows)))
    assert [entry.text for entry in entries] == ["one", "two"]
    assert [entry.id for entry in entries] == [caption_id("one", 0), caption_id("two", 2)]
    assert [(r.place, r.code) for r in rejected] == [
        ("captions.jsonl:2", "empty"), ("captions.jsonl:3", "empty")
    ]  # fmt: skip


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
        entries_of(source)


def test_captions_without_words_or_not_in_utf8_are_one_sentence(tmp_path):
    source = tmp_path / "captions.txt"
    source.write_text("\n \n")
    with pytest.raises(DataError, match="holds no caption"):
        entries_of(source)
    source.write_bytes("a bear\nein Bär".encode("latin-1"))
    with pytest.raises(DataError, match=r"captions.txt:2: not UTF-8 text; save the file as UTF-8"):
        entries_of(source)
    with pytest.raises(DataError, match=r"cannot be read as a source; give a \.txt, \.jsonl"):
        open_caption_source(tmp_path)
    with pytest.raises(DataError, match=r"does not exist; give a \.txt, \.jsonl"):
        open_caption_source(tmp_path / "nowhere.txt")
