from pathlib import Path

import pytest

from model.data.source import find_source
from model.errors import DataError
from model.training.config import DatasetConfig
from model.training.training_data import load_training_data
from tests.worlds import write_world


def training_data(folder: Path, **settings: object):
    config = DatasetConfig(**settings)
    return load_training_data(find_source(folder), config, seed=3)


def test_the_dev_split_selects_by_default(tmp_path: Path) -> None:
    data = training_data(write_world(tmp_path))
    assert set(data.dev.splits) == {"dev"}
    assert set(data.train.splits) == {"train"}


def test_the_last_images_of_train_can_select(tmp_path: Path) -> None:
    whole = training_data(write_world(tmp_path)).train.image_ids
    data = training_data(tmp_path, dev_last_count=3)
    assert data.train.image_ids + data.dev.image_ids == whole
    assert len(data.dev) == 3


def test_the_last_images_of_a_file_without_splits_can_select(tmp_path: Path) -> None:
    write_world(tmp_path, splits=("",))
    data = training_data(tmp_path, dev_last_count=3)
    whole = find_source(tmp_path).load().image_ids
    assert data.train.image_ids + data.dev.image_ids == whole
    assert len(data.dev) == 3


def test_splits_asked_of_a_file_without_any_are_refused(tmp_path: Path) -> None:
    write_world(tmp_path, splits=("",))
    with pytest.raises(DataError, match="names no splits"):
        training_data(tmp_path, dev_splits=("dev",))


def test_a_file_without_splits_is_cut_by_the_seed(tmp_path: Path) -> None:
    write_world(tmp_path, splits=("",))
    data, again = training_data(tmp_path), training_data(tmp_path)
    assert len(data.dev) == 1
    assert data.dev.image_ids == again.dev.image_ids
    assert not set(data.dev.image_ids) & set(data.train.image_ids)


def test_shuffled_captions_keep_every_caption_but_not_its_place(tmp_path: Path) -> None:
    write_world(tmp_path)
    plain, shuffled = training_data(tmp_path), training_data(tmp_path, shuffle_captions=True)
    assert sorted(plain.train.captions) == sorted(shuffled.train.captions)
    assert plain.train.captions != shuffled.train.captions
    assert plain.dev == shuffled.dev
