"""A training run in a process of its own that is killed at random moments and goes on.

Processes are forked from one that has imported everything already, so that a kill falls into the
work and not into the start of Python.
"""

import contextlib
import json
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.command_line import run_commands
from model.training.train import Train

__all__ = ["PROCESSES", "KilledRun", "import_everything", "outcome_of"]

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        "tests.end_to_end.killed_runs",
        "tests.end_to_end.killed_builds",
        "torch.utils.tensorboard",
        "transformers.models.resnet.modeling_resnet",
    ]
)
_LONGEST_S = 300.0
# What tells of time or memory; everything else must come out the same.
_MEASURED = {"seconds", "waiting_seconds", "stepping_seconds", "peak_memory_bytes"}
_MEASURED |= {"training_seconds", "waiting_share"}


class KilledRun:
    """A run that is killed again and again.

    Attributes:
        kill_count: How often it was killed.
        torn_count: How often that left a file half written.
    """

    def __init__(self, output: Path, arguments: Sequence[str]) -> None:
        """Prepare a run of `train` with `arguments` into `output`."""
        self.output = output
        self._arguments = [*arguments, "--output", str(output)]
        self._log = output.with_suffix(".log")
        self.kill_count = 0
        self.torn_count = 0

    def go_on(self, *, kill_after: float | None = None) -> bool:
        """Begin or go on, perhaps killed after so many seconds; return whether it is finished."""
        begun = (self.output / "training" / "settings.json").is_file()
        arguments = [*self._arguments, "--resume"] if begun else self._arguments
        process = PROCESSES.Process(target=_train, args=(arguments, self._log))
        process.start()
        process.join(_LONGEST_S if kill_after is None else kill_after)
        process.kill()
        process.join()
        if process.exitcode == 0:
            return True
        assert process.exitcode == -9, self._log.read_text()
        assert kill_after is not None, f"the run hung: {self._log.read_text()}"
        self.kill_count += 1
        self.torn_count += any(self.output.rglob(".*.tmp"))
        return False


def import_everything() -> None:
    """Start the process that others are forked from, so that the first one takes no longer."""
    process = PROCESSES.Process(target=_nothing)
    process.start()
    process.join()
    assert process.exitcode == 0


def outcome_of(output: Path) -> dict[str, Any]:
    """Return all that a finished run left, without times and memory."""
    described = json.loads((output / "training" / "state.json").read_text())
    metrics = json.loads((output / "metrics.json").read_text())
    # The folder must hold the one state and nothing torn; reading the names tells both.
    tensors = [path.name for path in (output / "training").rglob("*safetensors*")]
    return {
        "model": (output / "model.safetensors").read_bytes(),
        "state": (output / "training" / described["tensors"]).read_bytes(),
        "files": tensors,
        "position": _without_measured(described["position"]),
        "metrics": _without_measured(metrics),
    }


def _without_measured(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in _MEASURED}


def _nothing() -> None:
    pass


def _train(arguments: list[str], log: Path) -> None:
    with log.open("w") as said, contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        status = run_commands("train", {"train": Train}, ["train", *arguments])
    raise SystemExit(status)
