"""The folder of scenes: whole, readable by the loaders, and the same again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.command_line import run_command
from model.data.jsonl import load_jsonl
from model.data.scan import load_scan
from model.data.scenes.__main__ import Scenes
from model.data.scenes.dataset import generate_scene, read_scenes, write_scenes
from model.data.scenes.regions import REGION_COUNT, REGION_DIM
from model.errors import DataError

COUNTS = {"train": 12, "dev": 4, "test": 6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(output, seed=5, image_counts=COUNTS)
    return output


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_is_read_is_what_was_generated(folder: Path) -> None:
    for split, count in COUNTS.items():
        assert read_scenes(folder, split) == [generate_scene(5, split, i) for i in range(count)]


def test_the_training_loader_reads_it(folder: Path) -> None:
    images = load_jsonl(folder / "images", folder / "captions.jsonl", ["train"])
    items = read_scenes(folder, "train")
    assert list(images.image_ids) == [item.image_id for item in items]
    assert list(images.captions[3]) == [caption.text for caption in items[3].captions]
    assert images.metadata[3]["objects"] == items[3].metadata["objects"]


def test_items_for_the_index_name_their_objects_and_images(folder: Path) -> None:
    images = rows(folder / "images-test.jsonl")
    captions = rows(folder / "captions-test.jsonl")
    items = read_scenes(folder, "test")
    assert [row["id"] for row in images] == [item.image_id for item in items]
    for row, item in zip(images, items, strict=True):
        things = item.scene.objects
        assert row["objects"] == [f"{thing.colour} {thing.kind}" for thing in things]
        assert row["object_count"] == len(things)
        with Image.open(folder / "images" / row["path"]) as picture:
            assert picture.size[0] >= 128
    assert len({row["id"] for row in captions}) == len(captions) == 5 * len(images)
    assert {row["image_id"] for row in captions} == {row["id"] for row in images}


def test_region_features_in_the_scan_layout_are_the_same_images_and_captions(folder: Path) -> None:
    regions = load_scan(folder / "precomp")
    assert regions.regions is not None
    for split, count in COUNTS.items():
        part = regions.subset(regions.positions_of_splits([split]))
        pictures = load_jsonl(folder / "images", folder / "captions.jsonl", [split])
        assert part.image_ids == pictures.image_ids
        assert part.captions == pictures.captions
        assert part.regions is not None
        batch = part.regions.read(np.arange(count))
        assert batch.features.shape == (count, REGION_COUNT, REGION_DIM)
        assert batch.counts.tolist() == [
            1 + len(item.scene.objects) for item in read_scenes(folder, split)
        ]


def test_writing_twice_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_scenes(tmp_path / "again", seed=5, image_counts=COUNTS)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    again = sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*.*"))
    assert files == again
    for file in files:
        assert (folder / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file


def test_a_folder_with_something_in_it_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("dear to me")
    with pytest.raises(DataError, match="exists already"):
        write_scenes(tmp_path, seed=0, image_counts=COUNTS)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_without_scenes_is_refused_with_the_command_that_makes_them(
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match=r"python -m model\.data\.scenes --output"):
        read_scenes(tmp_path, "test")


def test_the_command_writes_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = ["--train-count", "3", "--dev-count", "2", "--test-count", "2"]
    argv = ["--output", str(tmp_path / "scenes"), "--seed", "9", *counts, "--json"]
    assert run_command("scenes", Scenes, argv) == 0
    assert json.loads(capsys.readouterr().out)["images"] == {"train": 3, "dev": 2, "test": 2}
    assert read_scenes(tmp_path / "scenes", "dev")[1] == generate_scene(9, "dev", 1)
