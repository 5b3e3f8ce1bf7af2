"""What a run says at its start and at its end."""

import torch

from model import console
from model.hrem import HREM
from model.precision import is_quick
from model.training.distributed import Collective
from model.training.samplers import Sampler
from model.training.schedule import StepPlan
from model.training.settings import TrainSettings
from model.training.training_data import TrainingData

__all__ = ["announce", "say_what_is_next"]

_FEWEST_DEV_IMAGES = 50


def announce(
    settings: TrainSettings,
    data: TrainingData,
    hrem: HREM,
    plan: StepPlan,
    sampler: Sampler,
    device: torch.device,
    collective: Collective,
    *,
    is_resumed: bool,
) -> None:
    """Say what is about to be trained, and warn of what will disappoint."""
    weights = sum(parameter.numel() for parameter in hrem.parameters())
    instance = (
        "off"
        if plan.instance_level_from is None
        else f"{settings.instance_level.mechanism}, from step {plan.instance_level_from:,} on"
    )
    batches = f"{plan.batches_per_step} x " if plan.batches_per_step > 1 else ""
    console.say(f"training  → {settings.output}")
    console.say(
        f"  data            {len(data.train):,} images, {len(data.train.caption_texts):,} "
        f"captions; selecting on {len(data.dev):,} images ({data.origin})"
    )
    _warn_of_few_dev_images(settings, data)
    console.say(
        f"  network         {hrem.name}, {weights / 1e6:.1f} M weights, "
        f"{hrem.tokenizer.vocabulary_size:,} words     device {device}, {settings.precision}"
        + (f", {collective.size} processes" if not collective.is_alone else "")
    )
    console.say(
        f"  schedule        {plan.step_count:,} steps of {batches}{sampler.batch_size} pairs, "
        f"seed {settings.seed}; instance level {instance}"
    )
    if not is_resumed and not is_quick(settings.precision, str(device)):
        console.warn(
            f"this {device.type} has no instructions for {settings.precision}: "
            "--precision float32 is several times faster here"
        )


def say_what_is_next(settings: TrainSettings, data: TrainingData) -> None:
    """Say what a finished run is for."""
    where = f"--data {settings.data}"
    if settings.data is None:
        where = f"--images {settings.images} --captions {settings.captions}"
    # Captions without splits have no test images: those that selected are the least seen.
    split = "" if any(data.train.splits) else " --split dev"
    console.say(
        f"next: python -m model.training evaluate --checkpoint {settings.output} {where}{split}"
    )
    images = "REGIONS.npy" if data.train.regions is not None else "FOLDER"
    console.say(
        "      python -m index_builder build --checkpoint "
        f"{settings.output} --images {images} --output INDEX"
    )


def _warn_of_few_dev_images(settings: TrainSettings, data: TrainingData) -> None:
    count = len(data.dev)
    if count >= _FEWEST_DEV_IMAGES:
        return
    more = "more images of that split"
    if settings.dataset.dev_last_count is not None:
        more = "a larger --dataset.dev-last-count"
    elif not any(data.train.splits):
        more = f"a larger --dataset.dev-fraction than {settings.dataset.dev_fraction:g}"
    console.warn(
        f"only {count} images select the checkpoint; with fewer than {_FEWEST_DEV_IMAGES} much of "
        f"that is luck: give {more}"
    )
