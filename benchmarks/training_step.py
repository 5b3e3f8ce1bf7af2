"""The share of the instance level in a training step of HREM with BERT.

    python -m benchmarks.training_step

One step of Flickr30K's settings on random data: region features, a text encoder of BERT-base's
size with random weights, both encoders forward, the objective, both backward, clipping, AdamW.
Where the objective meets the encoders the graph is cut, so that the parts can be timed apart; the
gradients are the same. The instance level's share is that of the objective with it, less the
objective without it: its forward, its backward and the three matching losses that it brings.
"""

import statistics
import sys
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from benchmarks.stopwatch import MIB, machine, machine_line
from model import console
from model.command_line import Command, run_command
from model.config import FragmentLevelConfig, TextEncoderConfig
from model.encoders.fragment_level import EncodedItems
from model.encoders.image import ImageEncoder
from model.encoders.text import TextEncoder
from model.peak_memory import peak_memory_bytes
from model.training.objective import LossConfig, Objective
from model.training.optimization import OptimizationConfig, make_optimizer
from model.training.relation.instance_level import InstanceLevelConfig

MOST_FRACTION = 0.2
REGION_DIM = 2048
VOCABULARY = 30_522  # BERT-base's


class TrainingStepBenchmark(Command):
    """Time the parts of a training step with a BERT-base-sized text encoder."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m benchmarks.training_step",
        "python -m benchmarks.training_step --batch-size 32 --steps 2 --json",
    )

    batch_size: int = Field(128, ge=2, description="pairs of a batch")
    regions: int = Field(36, ge=2, description="regions of an image")
    words: int = Field(15, ge=3, description="words of a caption, marks included")
    embedding_dim: int = Field(1024, ge=16, multiple_of=16, description="size of an embedding")
    text_layers: int = Field(12, ge=1, description="layers of the text encoder; BERT-base: 12")
    steps: int = Field(3, ge=1, description="how many steps are timed, after one that is not")

    def run(self) -> int:
        """Print the parts and the share; 1 if the instance level takes more than a fifth."""
        found = machine()
        console.say(f"timing  {1 + self.steps} steps of {self.batch_size} pairs")
        figures = self._measure()
        if self.json_output:
            console.result_json({"machine": found, "settings": self.model_dump(), **figures})
        else:
            _show(found, self, figures)
        return 0 if figures["instance_level_fraction"] <= MOST_FRACTION else 1

    def _measure(self) -> dict[str, Any]:
        """Return the median seconds of the parts, the share, and the peak of this process."""
        step = Step(
            batch_size=self.batch_size,
            regions=self.regions,
            words=self.words,
            embedding_dim=self.embedding_dim,
            text_layers=self.text_layers,
        )
        step.run()
        taken = [step.run() for _ in range(self.steps)]
        names = ("step", *Seconds.__dataclass_fields__)
        return {
            **{f"{n}_s": statistics.median(getattr(one, n) for one in taken) for n in names},
            "instance_level_fraction": statistics.median(
                one.instance_level_fraction for one in taken
            ),
            "parameters": sum(parameter.numel() for parameter in step.modules.parameters()),
            "peak_memory_mib": peak_memory_bytes() / MIB,
        }


@dataclass(frozen=True)
class Seconds:
    """Seconds of the parts of one step."""

    encoders_forward: float
    objective: float
    objective_without_instance_level: float
    encoders_backward: float
    optimizer: float

    @property
    def step(self) -> float:
        """Of the whole step, with the instance level."""
        return self.encoders_forward + self.objective + self.encoders_backward + self.optimizer

    @property
    def instance_level_fraction(self) -> float:
        """The instance level's part of the step."""
        return (self.objective - self.objective_without_instance_level) / self.step


class Step:
    """A network of the recipe's size, one random batch, and a step that says what it took."""

    def __init__(
        self, *, batch_size: int, regions: int, words: int, embedding_dim: int, text_layers: int
    ) -> None:
        torch.manual_seed(0)
        self.image_encoder = ImageEncoder(
            region_dim=REGION_DIM,
            embedding_dim=embedding_dim,
            fragment_level=FragmentLevelConfig(),
        )
        bert = {
            "model_type": "bert",
            "num_hidden_layers": text_layers,
            "vocab_size": VOCABULARY,
        }
        self.text_encoder = TextEncoder(
            embedding_dim=embedding_dim,
            config=TextEncoderConfig(
                kind="bert", architecture=bert, vocabulary_size=VOCABULARY, max_word_count=words
            ),
        )
        # Every violation counts: the loss is never 0 and no part of the backward is skipped.
        self.objective = Objective(
            embedding_dim,
            loss=LossConfig(kind="all_violations"),
            instance_level=InstanceLevelConfig(),
        )
        self.modules = torch.nn.ModuleList([self.image_encoder, self.text_encoder, self.objective])
        config = OptimizationConfig()
        self.clip_norm = config.clip_norm
        self.optimizer = make_optimizer(
            [("all", list(self.modules.parameters()), config.learning_rate)],
            weight_decay=config.weight_decay,
        )
        self.regions = torch.randn(batch_size, regions, REGION_DIM)
        self.token_ids = torch.randint(1, VOCABULARY, (batch_size, words))
        self.image_ids = torch.arange(batch_size)

    def run(self) -> Seconds:
        """Take one step and return the seconds of its parts."""
        times = [time.perf_counter()]

        def lap() -> None:
            times.append(time.perf_counter())

        self.optimizer.zero_grad(set_to_none=True)
        images = self.image_encoder(
            self.regions, torch.zeros(self.regions.shape[:2], dtype=torch.bool)
        )
        captions = self.text_encoder(
            self.token_ids, torch.zeros(self.token_ids.shape, dtype=torch.bool)
        )
        lap()
        self.compare(images, captions, with_instance_level=False)
        lap()
        gradients = self.compare(images, captions, with_instance_level=True)
        lap()
        torch.autograd.backward([images.embeddings, captions.embeddings], gradients)
        lap()
        torch.nn.utils.clip_grad_norm_(self.modules.parameters(), self.clip_norm)
        self.optimizer.step()
        lap()
        forward, without, objective, backward, optimizer = (
            after - before for before, after in pairwise(times)
        )
        return Seconds(
            encoders_forward=forward,
            objective=objective,
            objective_without_instance_level=without,
            encoders_backward=backward,
            optimizer=optimizer,
        )

    def compare(
        self, images: EncodedItems, captions: EncodedItems, *, with_instance_level: bool
    ) -> list[Tensor]:
        """Return the objective's gradients with respect to both embeddings."""
        leaves = [
            replace(items, embeddings=items.embeddings.detach().requires_grad_())
            for items in (images, captions)
        ]
        terms = self.objective(*leaves, self.image_ids, with_instance_level=with_instance_level)
        terms.total.backward()
        return [items.embeddings.grad for items in leaves if items.embeddings.grad is not None]


def _show(found: dict[str, Any], settings: TrainingStepBenchmark, figures: dict[str, Any]) -> None:
    """Print a table for people."""
    console.result(machine_line(found))
    console.table(
        f"one step · {settings.batch_size} pairs · {settings.regions} regions · "
        f"{settings.words} words · {settings.embedding_dim}-d · "
        f"{figures['parameters'] / 1e6:.0f} million parameters",
        ("part", "seconds"),
        [
            ("encoders, forward", f"{figures['encoders_forward_s']:.2f}"),
            ("objective, both ways", f"{figures['objective_s']:.2f}"),
            (
                "  without the instance level",
                f"{figures['objective_without_instance_level_s']:.2f}",
            ),
            ("encoders, backward", f"{figures['encoders_backward_s']:.2f}"),
            ("clipping and AdamW", f"{figures['optimizer_s']:.2f}"),
            ("step", f"{figures['step_s']:.2f}"),
        ],
    )
    console.result(
        f"instance level: {100 * figures['instance_level_fraction']:.1f} % of the step · "
        f"peak memory {figures['peak_memory_mib']:,.0f} MiB"
    )


if __name__ == "__main__":
    sys.exit(run_command("python -m benchmarks.training_step", TrainingStepBenchmark))
