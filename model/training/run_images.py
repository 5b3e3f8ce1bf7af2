"""Which images a run learns from and selects on: written at its start, told by `evaluate`.

Where a run goes on, they must be the same.

    training/images.json   {"train": [...], "dev": [...]}

An image is known by a hash of its id and its captions: the ids of two data sets may be the same
numbers. It therefore stays known when the folder moves, and not when its captions change.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.data.captioned_images import CaptionedImages
from model.durable import write_file
from model.errors import CheckpointError
from model.training.stored_ranks import data_hash
from model.training.training_data import TrainingData

__all__ = [
    "RunImages",
    "images_of_runs",
    "refuse_other_images",
    "run_hashes",
    "write_run_images",
]

_FILE = "training/images.json"


@dataclass(frozen=True)
class RunImages:
    """The images that a checkpoint has seen, by their hashes.

    Attributes:
        train: What it, or a checkpoint that it began with, learnt from.
        dev: What selected it.
    """

    train: frozenset[str]
    dev: frozenset[str]

    def counts(self, images: CaptionedImages) -> tuple[int, int]:
        """Return how many of `images` were trained on, and how many others selected."""
        marks = _marks(images)
        trained = sum(mark in self.train for mark in marks)
        return trained, sum(mark in self.dev and mark not in self.train for mark in marks)

    def told_of(self, images: CaptionedImages) -> str:
        """Return `counts` in words."""
        trained, selected = self.counts(images)
        others = f", {selected:,} selected the checkpoint" if selected else ""
        return f"{trained:,} of {len(images):,} images were trained on{others}"

    def dev_images(self, images: CaptionedImages) -> CaptionedImages:
        """Return those of `images` that selected the checkpoint."""
        return images.subset([i for i, mark in enumerate(_marks(images)) if mark in self.dev])


def write_run_images(
    output: Path, train: CaptionedImages, dev: CaptionedImages, *, begun_from: Path | None
) -> None:
    """Write which images a run in `output` trains on and selects on.

    Args:
        output: The checkpoint folder.
        train: What it learns from.
        dev: What selects its checkpoint.
        begun_from: The checkpoint that it begins with, whose images count as trained on too;
            where that one does not tell its own, nothing is written.
    """
    learnt = frozenset(_marks(train))
    if begun_from is not None:
        before = images_of_runs([str(begun_from)])
        if before is None:
            return
        learnt |= before.train
    written = {"train": sorted(learnt), "dev": sorted(_marks(dev))}
    write_file(output / _FILE, json.dumps(written) + "\n")


def refuse_other_images(output: Path, data: TrainingData, *, begun_from: Path | None) -> None:
    """Refuse to go on with the run in `output` on other images or captions than it began with.

    A run that wrote nothing of its images, as older versions and shuffled captions do not, goes on.

    Args:
        output: The checkpoint folder.
        data: What the run would go on with.
        begun_from: The checkpoint that the run began with. What that one had learnt is among the
            images of the run, so that one which is missing now is not noticed.

    Raises:
        CheckpointError: The data are others, or what the run wrote is damaged.
    """
    began = images_of_runs([str(output)])
    if began is None:
        return
    train, dev = frozenset(_marks(data.train)), frozenset(_marks(data.dev))
    is_train_same = train == began.train if begun_from is None else train <= began.train
    if is_train_same and dev == began.dev:
        return
    raise CheckpointError(
        f"the run in '{output}' began with other images or captions than these; put back those "
        "that it began with, or begin a new run in another --output"
    )


def images_of_runs(checkpoints: Sequence[str]) -> RunImages | None:
    """Return the images of the runs of all checkpoints; None where one of them does not tell.

    Raises:
        CheckpointError: What a run wrote is damaged.
    """
    train: set[str] = set()
    dev: set[str] = set()
    for name in checkpoints:
        path = Path(name) / _FILE
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text())
            train.update(found["train"])
            dev.update(found["dev"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"'{path}' is damaged ({error}); remove it, and nothing is told of the images that "
                "were trained on"
            ) from error
    return RunImages(frozenset(train), frozenset(dev))


def run_hashes(data: TrainingData) -> dict[str, str]:
    """Return `data_hash` of what a run is `trained_on` and `selected_on`.

    Where the seed draws these, of what they are `drawn_from` too: that is the same for all seeds.
    """
    hashes = {"trained_on": data_hash(data.train), "selected_on": data_hash(data.dev)}
    if data.drawn_from is not None:
        hashes["drawn_from"] = data_hash(data.drawn_from)
    return hashes


def _marks(images: CaptionedImages) -> list[str]:
    """Return 16 hex digits for each image."""
    return [
        hashlib.sha256(json.dumps([image_id, *captions]).encode()).hexdigest()[:16]
        for image_id, captions in zip(images.image_ids, images.captions, strict=True)
    ]
