"""Parameter groups, learning rates over the run, and a running average of the weights.

The learning rate is a pure function of the step, so a resumed run needs no schedule state.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from model.config import Section
from model.hrem import HREM

__all__ = [
    "OptimizationConfig",
    "WeightAverage",
    "learning_rate_factor",
    "make_optimizer",
    "parameter_groups",
]


class OptimizationConfig(Section):
    """AdamW with the paper's values."""

    learning_rate: float = Field(5e-4, gt=0, description="Of everything without its own rate.")
    bert_learning_rate: float = Field(5e-5, gt=0, description="Of a BERT-like text encoder.")
    backbone_learning_rate: float = Field(
        5e-5, gt=0, description="Of a vision backbone that is trained."
    )
    weight_decay: float = Field(1e-4, ge=0, description="Of all parameters.")
    clip_norm: float = Field(
        2.0, gt=0, description="Largest norm of the gradient over all parameters."
    )
    decay_fractions: tuple[float, ...] = Field(
        (0.5, 25 / 30),
        description="At these fractions of all steps the rates are multiplied by decay_factor.",
    )
    decay_steps: tuple[int, ...] | None = Field(
        None, description="Steps at which the rates fall, instead of decay_fractions."
    )
    decay_factor: float = Field(0.1, gt=0, le=1, description="What the rates are multiplied by.")
    course: Literal["steps", "cosine"] = Field(
        "steps", description="The rates fall in steps, or along a half cosine towards 0."
    )
    rising_steps: int = Field(
        0, ge=0, description="Steps over which the rates rise linearly from near 0."
    )
    weight_average_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay of an exponential moving average of the weights; when set, the "
        "average is what is evaluated and saved.",
    )


def learning_rate_factor(step: int, *, step_count: int, config: OptimizationConfig) -> float:
    """Return what the rates of zero-based `step` are multiplied by."""
    falls: Sequence[float] = (
        config.decay_steps
        if config.decay_steps is not None
        else [round(fraction * step_count) for fraction in config.decay_fractions]
    )
    factor = config.decay_factor ** sum(step >= fall for fall in falls)
    if config.course == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * step / step_count))
    rise = min(1.0, (step + 1) / config.rising_steps) if config.rising_steps else 1.0
    return factor * rise


def parameter_groups(
    hrem: HREM, objective: nn.Module, config: OptimizationConfig
) -> list[tuple[str, list[nn.Parameter], float]]:
    """Return (name, parameters, rate): a BERT and a backbone learn at rates of their own."""
    bert = getattr(hrem.text_encoder.words, "bert", None)
    own_rates = {
        "bert": (list(bert.parameters()) if bert is not None else [], config.bert_learning_rate),
        "backbone": (
            list(hrem.backbone.parameters()) if hrem.backbone is not None else [],
            config.backbone_learning_rate,
        ),
    }
    taken = {id(parameter) for parameters, _ in own_rates.values() for parameter in parameters}
    others = [p for module in (hrem, objective) for p in module.parameters() if id(p) not in taken]
    groups = [(name, parameters, rate) for name, (parameters, rate) in own_rates.items()]
    return [*groups, ("others", others, config.learning_rate)]


def make_optimizer(
    groups: Sequence[tuple[str, Sequence[nn.Parameter], float]], *, weight_decay: float
) -> torch.optim.AdamW:
    """Return AdamW over (name, parameters, learning rate) groups.

    Parameters without `requires_grad` are left out, and groups that become empty too. Each group
    remembers its own rate as `base_rate`.
    """
    torch_groups: list[dict[str, Any]] = []
    for name, parameters, rate in groups:
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        if trained:
            torch_groups.append({"params": trained, "lr": rate, "base_rate": rate, "name": name})
    return torch.optim.AdamW(torch_groups, weight_decay=weight_decay, fused=True)


class WeightAverage:
    """An exponential moving average of a network's weights; buffers are copied, not averaged."""

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        """Start from the present weights."""
        self._network = network
        self._decay = decay
        self._present = list(network.parameters())
        self.averaged = [parameter.detach().clone() for parameter in self._present]
        self.update_count = 0

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the present weights.

        Early on the decay is lower, (1 + updates) / (10 + updates), so that the random first
        weights are forgotten in a short run.
        """
        decay = min(self._decay, (1 + self.update_count) / (10 + self.update_count))
        torch._foreach_lerp_(self.averaged, [p.detach() for p in self._present], 1 - decay)
        self.update_count += 1

    def restore(self, averaged: Sequence[Tensor], *, update_count: int) -> None:
        """Put back an average that was saved after so many updates."""
        torch._foreach_copy_(self.averaged, list(averaged))
        self.update_count = update_count

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Put the averaged weights into the network for a while."""
        kept = [parameter.detach().clone() for parameter in self._present]
        self._copy(self.averaged)
        try:
            yield
        finally:
            self._copy(kept)

    @torch.no_grad()
    def _copy(self, weights: Sequence[Tensor]) -> None:
        """Write `weights` into the network."""
        torch._foreach_copy_(list[Tensor](self._present), list(weights))
