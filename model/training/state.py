"""Everything that a run needs to go on as if it had never stopped.

    training/state.json                what step the run is at, and which file holds the tensors
    training/step-00000117.safetensors the weights of network and instance level, the optimiser,
                                       the averaged weights

The tensors are written first, under a name of their own; replacing state.json is what makes them
the state. A process killed at any moment therefore leaves the old state or the new one, whole, and
perhaps a file that the next one removes. Nothing is ever unpickled.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.durable import move_file, write_file
from model.errors import CheckpointError

__all__ = [
    "Position",
    "module_tensors",
    "optimizer_tensors",
    "read_state",
    "remove_leftovers",
    "restore_optimizer",
    "saved_step",
    "under",
    "write_state",
]

_STATE = "state.json"


@dataclass
class Position:
    """Where a run stands.

    Attributes:
        step: Steps taken.
        instance_level_steps: How many of them ran with the instance level.
        best_rsum: Of the dev images so far; None before the first look.
        best_step: After how many steps that was.
        seconds: Time spent so far, over all sittings.
        neighbour_seconds: Of them, spent on finding neighbours.
        stepping_seconds: Of them, in steps: without looks at the dev images and saving.
        waiting_seconds: Of these, in waiting for batches.
        history: One entry a look at the dev images.
        peak_memory_bytes: The most memory that a sitting held until it saved; 0 where an older
            version saved.
        recent: Each term of the loss, summed over the steps since the last look.
        recent_count: How many steps these are.
    """

    step: int = 0
    instance_level_steps: int = 0
    best_rsum: float | None = None
    best_step: int = 0
    seconds: float = 0.0
    neighbour_seconds: float = 0.0
    stepping_seconds: float = 0.0
    waiting_seconds: float = 0.0
    peak_memory_bytes: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    recent: dict[str, float] = field(default_factory=dict)
    recent_count: int = 0

    @property
    def waiting_share(self) -> float:
        """Share of the time of the steps that was spent waiting for batches."""
        return self.waiting_seconds / self.stepping_seconds if self.stepping_seconds else 0.0

    def add_terms(self, terms: Mapping[str, float]) -> None:
        """Count the terms of one more step."""
        for name, value in terms.items():
            self.recent[name] = self.recent.get(name, 0.0) + value
        self.recent_count += 1

    def mean_terms(self) -> dict[str, float]:
        """Return the mean of each term over the steps since the last look."""
        return {name: value / max(1, self.recent_count) for name, value in self.recent.items()}

    def add_look(self, report: Mapping[str, Any]) -> None:
        """Enter a look at the dev images, and begin the next stretch of steps."""
        self.history.append({"step": self.step, "terms": self.mean_terms(), "dev": report})
        self.recent = {}
        self.recent_count = 0


def write_state(folder: Path, position: Position, tensors: Mapping[str, Tensor]) -> None:
    """Write the state of a run; whoever reads sees the old state or the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"step-{position.step:08d}.safetensors"
    partial = folder / f".{name}.tmp"
    save_file({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, partial)
    move_file(partial, folder / name)
    described = {"tensors": name, "position": asdict(position)}
    write_file(folder / _STATE, json.dumps(described, indent=2) + "\n")
    remove_leftovers(folder)


def saved_step(folder: Path) -> int | None:
    """Return how many steps the saved state has taken; None where there is none.

    Raises:
        CheckpointError: There is one, but damaged.
    """
    if not (folder / _STATE).is_file():
        return None
    with _damage_told(folder):
        return int(json.loads((folder / _STATE).read_text())["position"]["step"])


def remove_leftovers(folder: Path) -> None:
    """Remove the tensors of older states, and of one that was not finished."""
    kept = json.loads((folder / _STATE).read_text())["tensors"]
    for path in folder.glob("*step-*.safetensors*"):
        if path.name != kept:
            path.unlink()


def read_state(folder: Path) -> tuple[Position, dict[str, Tensor]]:
    """Return what `write_state` wrote.

    Raises:
        CheckpointError: There is no state to go on from, or it is damaged.
    """
    path = folder / _STATE
    if not path.is_file():
        raise CheckpointError(f"no training state at '{path}'; start anew without --resume")
    with _damage_told(folder):
        described = json.loads(path.read_text())
        tensors = load_file(folder / described["tensors"])
        return Position(**described["position"]), tensors


@contextmanager
def _damage_told(folder: Path) -> Iterator[None]:
    """Turn whatever a damaged state raises when it is read into one sentence."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(
            f"'{folder}' is damaged ({error}); start anew without --resume"
        ) from error


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimiser as flat names: `<place of the parameter>.<what>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{place}.{name}": torch.as_tensor(value)
        for place, values in state.items()
        for name, value in values.items()
    }


@torch.no_grad()
def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned; the parameter groups stay as they are."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        place, name = key.split(".", 1)
        parameter = parameters[int(place)]
        if tensor.shape == parameter.shape:
            # The fused optimiser walks both through memory: they must lie in the same order.
            tensor = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)
        state.setdefault(int(place), {})[name] = tensor
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with `prefix.`, without it."""
    start = prefix + "."
    return {key.removeprefix(start): t for key, t in tensors.items() if key.startswith(start)}


def module_tensors(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """Return the weights and buffers of a module as `prefix.name`."""
    return {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}
