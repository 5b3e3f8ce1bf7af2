"""The images that train and the images that select the checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from model.data.captioned_images import CaptionedImages
from model.data.source import DataSource
from model.errors import DataError
from model.training.config import DatasetConfig
from model.training.randomness import Purpose, stream_seed

__all__ = ["TrainingData", "load_training_data", "with_shuffled_captions"]

_DEV_NAMES = ("dev", "val")


@dataclass(frozen=True)
class TrainingData:
    """Two disjoint sets of captioned images.

    Attributes:
        train: What the network learns from.
        dev: What selects the checkpoint.
        origin: In words, which images `dev` are.
        drawn_from: Where the seed decides which images these are, or whose captions: what it drew
            them from.
    """

    train: CaptionedImages
    dev: CaptionedImages
    origin: str
    drawn_from: CaptionedImages | None = None


def load_training_data(source: DataSource, config: DatasetConfig, *, seed: int) -> TrainingData:
    """Return the training and dev images of a data set.

    The dev images are, in this order: the last `dev_last_count` of the training splits; those of
    `dev_splits`; those of a split named dev or val. Every image of a file without splits is of the
    training splits; where `dev_last_count` is not set, a seeded share of them selects.

    Raises:
        DataError: The data set cannot be used, or one of the two sets would be empty.
    """
    wanted = None
    if source.layout == "scan":
        # Opening an array may read two regions of every row: only those that are needed.
        wanted = {*config.train_splits, *(config.dev_splits or _DEV_NAMES)}
    data = _cut(source.load(wanted), source.captions, config, seed=seed)
    if config.shuffle_captions:
        data = replace(
            data,
            train=with_shuffled_captions(data.train, seed=seed),
            drawn_from=data.drawn_from or data.train,
        )
    return data


def with_shuffled_captions(images: CaptionedImages, *, seed: int) -> CaptionedImages:
    """Return the images with each other's captions: nothing can be learnt from them."""
    order_seed = stream_seed(seed, 0, purpose=Purpose.SHUFFLED_CAPTIONS)
    order = np.random.default_rng(order_seed).permutation(len(images))
    return replace(images, captions=tuple(images.captions[i] for i in order))


def _cut(
    images: CaptionedImages, captions_file: Path, config: DatasetConfig, *, seed: int
) -> TrainingData:
    found = sorted(set(images.splits))
    has_splits = found != [""]
    if not has_splits and config.dev_splits is not None:
        raise DataError(f"{captions_file} names no splits; leave --dataset.dev-splits out")
    if not has_splits and config.dev_last_count is None:
        return _seeded_cut(images, config, seed=seed)
    train = images.positions_of_splits(config.train_splits if has_splits else [""])
    if not train:
        raise DataError(
            f"{captions_file}: no image is of split {' or '.join(config.train_splits)}; "
            f"found {', '.join(found)}; set --dataset.train-splits"
        )
    if config.dev_last_count is not None:
        count = config.dev_last_count
        if count >= len(train):
            raise DataError(
                f"dev_last_count = {count} leaves nothing of {len(train)} training images; "
                f"give a smaller --dataset.dev-last-count, or more images"
            )
        return _of(images, train[:-count], train[-count:], f"last {count} of train")
    dev_splits: Sequence[str]
    if config.dev_splits is not None:
        dev_splits = config.dev_splits
    else:
        dev_splits = [name for name in _DEV_NAMES if name in found][:1]
    dev = images.positions_of_splits(dev_splits)
    if not dev:
        raise DataError(
            f"{captions_file}: no images to select on; found splits {', '.join(found)}; set "
            "--dataset.dev-splits or --dataset.dev-last-count"
        )
    overlap = set(dev) & set(train)
    if overlap:
        raise DataError(f"{len(overlap)} images would train and select; give disjoint splits")
    return _of(images, train, dev, f"split {' + '.join(dev_splits)}")


def _seeded_cut(images: CaptionedImages, config: DatasetConfig, *, seed: int) -> TrainingData:
    """Return a random cut, the same for the same seed and number of images."""
    order_seed = stream_seed(seed, 0, purpose=Purpose.SPLIT)
    order = np.random.default_rng(order_seed).permutation(len(images))
    dev_count = max(1, round(config.dev_fraction * len(images)))
    if dev_count >= len(images):
        raise DataError(f"{len(images)} images are too few to train on and to select on")
    dev, train = np.sort(order[:dev_count]), np.sort(order[dev_count:])
    cut = _of(images, train.tolist(), dev.tolist(), f"{dev_count} images at random")
    return replace(cut, drawn_from=images)


def _of(
    images: CaptionedImages, train: Sequence[int], dev: Sequence[int], origin: str
) -> TrainingData:
    return TrainingData(images.subset(train), images.subset(dev), origin)
