"""A folder's layout is told by what lies in it."""

from pathlib import Path

import pytest

from model.data.source import DataSource, find_source
from model.errors import DataError
from tests.unit.data.layouts import (
    captions_for,
    karpathy_image,
    made_up_regions,
    write_karpathy,
    write_scan,
)
from tests.worlds import write_world

KARPATHY = [karpathy_image(0, "train"), karpathy_image(1, "test")]


def test_each_layout_is_found_and_loaded(tmp_path: Path) -> None:
    write_world(tmp_path / "jsonl")
    write_scan(tmp_path / "scan", "test", made_up_regions(3), captions_for(3))
    write_karpathy(tmp_path / "karpathy", KARPATHY)
    for layout, count in (("jsonl", 2), ("scan", 3), ("karpathy", 1)):
        source = find_source(tmp_path / layout)
        assert source.layout == source.name == layout
        images = source.load(["test"])
        assert len(images) == count
        assert (images.regions is None) == (layout != "scan")
        assert len(images.image_paths) == (0 if layout == "scan" else count)


def test_pictures_may_lie_beside_the_karpathy_file_itself(tmp_path: Path) -> None:
    write_karpathy(tmp_path, KARPATHY)
    (tmp_path / "images" / "picture-0.png").rename(tmp_path / "picture-0.png")
    (tmp_path / "images" / "picture-1.png").rename(tmp_path / "picture-1.png")
    (tmp_path / "images").rmdir()
    assert len(find_source(tmp_path).load()) == 2


def test_captions_jsonl_comes_first(tmp_path: Path) -> None:
    write_karpathy(tmp_path, KARPATHY)
    write_scan(tmp_path, "test", made_up_regions(3), captions_for(3))
    assert find_source(tmp_path).layout == "scan"
    write_world(tmp_path)
    assert find_source(tmp_path).layout == "jsonl"


def test_the_ending_of_a_captions_file_tells_its_layout(tmp_path: Path) -> None:
    assert DataSource.of_files(tmp_path, tmp_path / "a.jsonl").layout == "jsonl"
    assert DataSource.of_files(tmp_path, tmp_path / "a.json").layout == "karpathy"
    with pytest.raises(DataError, match=r"a\.txt: captions must say which picture"):
        DataSource.of_files(tmp_path, tmp_path / "a.txt")
    with pytest.raises(DataError, match=r"a\.csv: only an index is built of \.csv; to train"):
        DataSource.of_files(tmp_path, tmp_path / "a.csv")


def test_what_is_no_data_set_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no data set; expected captions"):
        find_source(tmp_path)
    with pytest.raises(DataError, match="there is no folder"):
        find_source(tmp_path / "nothing")
    write_karpathy(tmp_path, KARPATHY)
    write_karpathy(tmp_path, KARPATHY, name="dataset_other.json")
    with pytest.raises(DataError, match=r"dataset_other\.json, dataset_tiny\.json; name one"):
        find_source(tmp_path)
