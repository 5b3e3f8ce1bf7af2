"""The Karpathy layout: ids, paths, splits, any number of sentences, and wrong entries."""

import json
from pathlib import Path

import pytest

from model.data.karpathy import load_karpathy
from model.errors import DataError
from model.identifiers import image_id_for_path
from tests.unit.data.layouts import karpathy_image, write_karpathy

IMAGES = [
    karpathy_image(0, "train", cocoid=391895, filepath="train2014"),
    karpathy_image(1, "restval", filepath="val2014"),
    karpathy_image(2, "val"),
    {k: v for k, v in karpathy_image(3, "test").items() if k != "imgid"},
]


def load(folder: Path, *splits: str):
    return load_karpathy(folder / "images", folder / "dataset_tiny.json", splits or None)


def test_every_image_has_its_own_sentences_id_and_path(tmp_path: Path) -> None:
    images = load(write_karpathy(tmp_path, IMAGES))
    assert images.image_ids == ("391895", "1", "2", image_id_for_path("picture-3.png"))
    assert [len(own) for own in images.captions] == [1, 2, 3, 1]
    assert images.captions[1] == ("a sentence 0 of 1", "a sentence 1 of 1")
    assert images.image_paths[0] == tmp_path / "images" / "train2014" / "picture-0.png"
    assert images.splits == ("train", "restval", "val", "test")


def test_restval_is_a_split_of_its_own(tmp_path: Path) -> None:
    write_karpathy(tmp_path, IMAGES)
    assert load(tmp_path, "train").image_ids == ("391895",)
    assert load(tmp_path, "train", "restval").image_ids == ("391895", "1")
    with pytest.raises(DataError, match="no image is of split dev; found restval, test, train"):
        load(tmp_path, "dev")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"filename": None}, "`filename` must be a text, found None"),
        ({"filepath": 3}, "`filepath` must be a text"),
        ({"split": None}, "`split` must be a text"),
        ({"filepath": "../.."}, "does not lie below"),
        ({"cocoid": 1.5}, "`cocoid` must be a number or a text"),
        ({"cocoid": True}, "`cocoid` must be a number or a text"),
        ({"cocoid": "a b"}, "is not allowed"),
        ({"sentences": []}, "at least one sentence"),
        ({"sentences": ["a dog"]}, "`raw` of a sentence must be a text"),
        ({"sentences": [{"raw": " "}]}, "`raw` of a sentence must be a text"),
        ({"imgid": 0}, "an id stands twice"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named(tmp_path: Path, entry: dict, said: str) -> None:
    whole = [karpathy_image(0, "train"), karpathy_image(1, "train")]
    write_karpathy(tmp_path, whole)
    assert len(load(tmp_path)) == 2
    (tmp_path / "inside").mkdir()
    damaged = tmp_path / "inside"
    write_karpathy(damaged, [whole[0], whole[1] | entry])
    with pytest.raises(DataError, match=said):
        load(damaged)


def test_missing_pictures_and_files_are_told(tmp_path: Path) -> None:
    write_karpathy(tmp_path, IMAGES)
    (tmp_path / "images" / "picture-2.png").unlink()
    with pytest.raises(DataError, match="1 of 4 pictures that do not exist"):
        load(tmp_path)
    assert len(load(tmp_path, "test")) == 1
    (tmp_path / "dataset_tiny.json").write_text("[1, 2]")
    with pytest.raises(DataError, match=r'expected \{"images": \[\.\.\.\]\}'):
        load(tmp_path)
    (tmp_path / "dataset_tiny.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        load(tmp_path)
    with pytest.raises(DataError, match="no captions file"):
        load_karpathy(tmp_path, tmp_path / "nothing.json")
    with pytest.raises(DataError, match="no folder of pictures"):
        load_karpathy(tmp_path / "nothing", tmp_path / "dataset_tiny.json")


def test_the_layout_of_coco_itself_is_named(tmp_path: Path) -> None:
    write_karpathy(tmp_path, IMAGES)
    captions = tmp_path / "dataset_tiny.json"
    own = {"images": [{"id": 7, "file_name": "dog.jpg"}], "annotations": [{"image_id": 7}]}
    captions.write_text(json.dumps(own))
    with pytest.raises(DataError, match=r"is in COCO's own layout .* not in Karpathy's"):
        load(tmp_path)
    captions.write_text(json.dumps({"images": IMAGES, "annotations": []}))
    assert len(load(tmp_path)) == len(IMAGES)
