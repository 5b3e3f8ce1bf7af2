import json
from pathlib import Path

import pytest
from PIL import Image

from model.data.jsonl import load_jsonl
from model.errors import DataError
from model.identifiers import image_id_for_path
from tests.worlds import captions_of, write_world


def write_lines(folder: Path, rows: list[object], names: tuple[str, ...] = ("a.png",)) -> Path:
    (folder / "images").mkdir(exist_ok=True)
    for name in names:
        Image.new("RGB", (8, 8)).save(folder / "images" / name)
    file = folder / "captions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def load(folder: Path, splits: tuple[str, ...] | None = None):
    return load_jsonl(folder / "images", folder / "captions.jsonl", splits)


def test_a_line_with_all_captions_of_an_image_is_one_image(tmp_path: Path) -> None:
    images = load(write_world(tmp_path, image_count=6))
    assert len(images) == 6
    assert list(images.captions[2]) == captions_of(2)
    assert images.image_ids[3] == image_id_for_path("more/picture-03.png")
    assert images.metadata[4] == {"number": 4}
    assert images.caption_image.tolist() == [i for i in range(6) for _ in range(5)]
    assert images.caption_texts[5:10] == tuple(captions_of(1))


def test_lines_of_one_caption_each_are_gathered_by_their_image(tmp_path: Path) -> None:
    rows = [
        {"image": "b.png", "caption": "first"},
        {"image": "a.png", "caption": "second"},
        {"image": "b.png", "caption": "third"},
    ]
    write_lines(tmp_path, rows, ("a.png", "b.png"))
    images = load(tmp_path)
    assert images.captions == (("first", "third"), ("second",))


def test_filename_and_a_given_id_name_an_image(tmp_path: Path) -> None:
    write_lines(tmp_path, [{"filename": "a.png", "id": "dog", "captions": ["x"]}])
    images = load(tmp_path)
    assert images.image_ids == ("dog",)
    assert images.image_paths[0].name == "a.png"


def test_an_image_id_alone_finds_the_picture_by_its_default_id(tmp_path: Path) -> None:
    write_lines(tmp_path, [{"image_id": image_id_for_path("a.png"), "caption": "x"}])
    assert load(tmp_path).image_paths[0].name == "a.png"


def test_splits_keep_only_their_images(tmp_path: Path) -> None:
    images = load(write_world(tmp_path), ("dev",))
    assert set(images.splits) == {"dev"}
    assert len(images) == 2


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"image": "missing.png", "captions": ["x"]}, "1 of 1 pictures that do not exist"),
        ({"image": "../a.png", "captions": ["x"]}, "does not lie below"),
        ({"image": "a.png", "captions": []}, "at least one caption"),
        ({"image": "a.png", "captions": ["  "]}, "a text with words"),
        ({"image": "a.png", "year": 3}, "no `captions` among image, year"),
        ({"captions": ["x"]}, "names no picture"),
        ({"image": "a.png", "id": "no spaces", "captions": ["x"]}, "is not allowed"),
        (["a.png"], "expected an object"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, row: object, said: str) -> None:
    write_lines(tmp_path, [row])
    with pytest.raises(DataError, match=said):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{'image'", "line 1: not JSON"),
        ('\n{"image": "caf\u00e9.png"}'.encode("latin-1"), "not UTF-8 text"),
        (b'{"captions": ' + b"[" * 100_000, "line 1: not JSON"),
    ],
)
def test_a_file_that_is_no_json_lines_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    write_lines(tmp_path, []).write_bytes(content)
    with pytest.raises(DataError, match=said):
        load(tmp_path)


def test_missing_files_and_empty_splits_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no captions file"):
        load(tmp_path)
    write_world(tmp_path)
    with pytest.raises(DataError, match="no image is of split nothing; found dev, test, train"):
        load(tmp_path, ("nothing",))
    write_world(tmp_path, splits=("",))
    with pytest.raises(DataError, match="these captions name no splits; give --split all"):
        load(tmp_path, ("test",))
