"""A trainer over made-up region features, small enough to look at a single gradient."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from model.data.captioned_images import CaptionedImages
from model.training.augmentation import AugmentationConfig
from model.training.batch_supply import BatchSupply
from model.training.batches import BatchMaker
from model.training.distributed import Collective
from model.training.failures import BatchFailures
from model.training.learner import Learner
from model.training.objective import LossConfig, Objective
from model.training.optimization import OptimizationConfig
from model.training.relation.instance_level import InstanceLevelConfig
from model.training.samplers import RandomSampler
from model.training.schedule import StepPlan
from model.training.stored_images import StoredEncoder, StoredPictures
from model.training.trainer import DevImages, Trainer
from tests.worlds import captions_of, tiny_hrem

__all__ = ["captioned_images", "gradients_of", "tiny_trainer"]

IMAGE_COUNT = 16
REGION_COUNT = 6
REGION_DIM = 12


def captioned_images() -> CaptionedImages:
    """Return images that have ids and captions, and no pictures."""
    numbers = range(IMAGE_COUNT)
    return CaptionedImages(
        image_ids=tuple(f"image-{number}" for number in numbers),
        image_paths=tuple(Path(f"{number}.png") for number in numbers),
        captions=tuple(tuple(captions_of(number)) for number in numbers),
        metadata=tuple({} for _ in numbers),
        splits=tuple("" for _ in numbers),
    )


def tiny_trainer(
    output: Path,
    *,
    batch_size: int = 8,
    batches_per_step: int = 1,
    dropout: float = 0.1,
    region_drop: float = 0.3,
    loss: str = "distance_weighted",
    collective: Collective | None = None,
) -> Trainer:
    """Return a trainer of a network with random weights, the same at every call.

    Args:
        output: The checkpoint folder.
        batch_size: Pairs a batch.
        batches_per_step: Batches whose gradients are added.
        dropout: Of every layer.
        region_drop: Share of the regions that are left out: items of different lengths.
        loss: Kind of the matching loss.
        collective: The processes that share each batch; None: this one alone.
    """
    collective = collective or Collective()
    images = captioned_images()
    hrem = tiny_hrem(backbone=None, region_dim=REGION_DIM).train()
    torch.manual_seed(1)
    objective = Objective(
        hrem.dim,
        loss=LossConfig(kind=loss),
        instance_level=InstanceLevelConfig(head_count=2, warmup_steps=0),
    )
    _set_dropout(hrem, dropout)
    _set_dropout(objective, dropout)
    features = np.random.default_rng(0).normal(size=(IMAGE_COUNT, REGION_COUNT, REGION_DIM))
    pictures = StoredPictures(features.astype(np.float16))
    encoder = StoredEncoder(hrem, pictures)
    plan = StepPlan(
        step_count=4,
        opening_step_count=0,
        instance_level_from=0,
        warmup_step_count=0,
        evaluate_every=4,
        batches_per_step=batches_per_step,
    )
    maker = BatchMaker.of_texts(
        pictures,
        images.caption_texts,
        hrem.tokenizer,
        region_count=REGION_COUNT,
        augmentation=AugmentationConfig(region_drop=region_drop),
        seed=0,
    )
    supply = BatchSupply(
        RandomSampler(images.caption_image, batch_size=batch_size, captions_per_pass="all", seed=0),
        maker,
        images=encoder,
        train_count=IMAGE_COUNT,
        plan=plan,
        collective=collective,
    )
    learner = Learner(
        hrem,
        objective,
        images=encoder,
        supply=supply,
        plan=plan,
        optimization=OptimizationConfig(),
        precision="float32",
        seed=0,
        failures=BatchFailures(images, output),
        collective=collective,
    )
    dev = DevImages(
        rows=np.arange(IMAGE_COUNT),
        captions=images.caption_texts,
        caption_image=torch.from_numpy(images.caption_image),
    )
    return Trainer(
        learner, supply, images=encoder, dev=dev, plan=plan, output=output, collective=collective
    )


def gradients_of(trainer: Trainer, step: int) -> dict[str, torch.Tensor]:
    """Return the gradient of every parameter in zero-based `step`, before it is clipped."""
    first = step * trainer._plan.batches_per_step
    learner = trainer._learner
    learner.add_gradients(step, trainer._supply.batches_from(first, trainer.position))
    modules = {"hrem": learner.hrem, "objective": learner.objective}
    return {
        f"{part}.{name}": parameter.grad.clone()
        for part, module in modules.items()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def _set_dropout(network: nn.Module, probability: float) -> None:
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability
        elif isinstance(module, nn.MultiheadAttention):
            module.dropout = probability
