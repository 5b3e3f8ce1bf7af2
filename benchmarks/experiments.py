"""`python -m benchmarks.experiments --data D --backbone B`: a queue of training runs, resumable.

The queue is a TOML list of experiments (recipe, overrides, seeds). Each finished run appends one
JSON line to the results file: command, wall times, dev and reported figures, date, commit. Started
again, the queue skips what is finished and goes on with the run that was stopped.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, ValidationError

from model import console
from model.command_line import Command, load_settings, run_command
from model.config import Section
from model.errors import ConfigError, HremError
from model.training.train import Train

QUEUE = Path(__file__).with_name("experiments.toml")


class ExperimentError(HremError):
    """A run of the queue failed."""


class Experiment(Section):
    """One entry of the queue."""

    name: str = Field(pattern=r"[a-z0-9-]+", description="Short name, also of the run's folder.")
    question: str = Field(description="What the run is for.")
    recipe: str | None = Field(None, description="A shipped recipe.")
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="Settings on top, by dotted name."
    )
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="One run for each.")
    split: str = Field("val", description="Split to report on.")


@dataclass(frozen=True)
class Run:
    """One seed of one experiment."""

    experiment: Experiment
    seed: int
    backbone: str | None = None

    @property
    def name(self) -> str:
        """Name of the run's folder: a changed recipe is another run, never the old one resumed."""
        return f"{self.experiment.name}-seed{self.seed}-{self.key[:6]}"

    @property
    def key(self) -> str:
        """12 hex digits over the settings that are not the default, the backbone and the split.

        A new option, off by default, therefore leaves what is finished finished.
        """
        settings = load_settings("train", Train, self.settings())
        backbone = Path(self.backbone).name if self.backbone is not None else None
        content = [settings.what_is_computed(), backbone, self.experiment.split]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def settings(self) -> list[str]:
        """Return recipe, overrides and seed as flags of `train`."""
        recipe = ["--recipe", self.experiment.recipe] if self.experiment.recipe else []
        flags = [part for item in self.experiment.overrides.items() for part in _flag(*item)]
        return [*recipe, *flags, "--seed", str(self.seed)]


class Experiments(Command):
    """Run what is left of a queue of experiments."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m benchmarks.experiments --data flickr8k --backbone mobilenet-v2",
        "python -m benchmarks.experiments --only flickr8k-cpu --data D --backbone B",
    )

    queue: Path = Field(QUEUE, description="TOML file with [[experiment]] entries.")
    results: Path = Field(
        Path("docs/experiments.jsonl"), description="Where a finished run appends its line."
    )
    runs: Path = Field(Path("runs"), description="Where the checkpoints go.")
    data: Path | None = Field(None, description="Folder of the data set.")
    backbone: str | None = Field(None, description="Folder of the pretrained backbone.")
    cache_directory: Path | None = Field(None, description="Where features are kept.")
    only: str | None = Field(None, description="Name of the one experiment to run.")

    def run(self) -> int:
        """Run the queue; 0 when nothing is left."""
        if self.data is None:
            raise ConfigError(["data: give --data FOLDER of the data set (or set HREM_DATA)"])
        queue = [
            run
            for run in read_queue(self.queue, self.backbone)
            if self.only in (None, run.experiment.name)
        ]
        if not queue:
            raise ConfigError([f"only = {self.only!r}: there is no such experiment in the queue"])
        finished = finished_keys(self.results)
        left = [run for run in queue if run.key not in finished]
        console.say(f"queue  {len(queue)} runs, {len(queue) - len(left)} finished  {self.results}")
        lines = [self._run(run) for run in left]
        if self.json_output:
            console.result_json({"finished_before": len(queue) - len(left), "runs": lines})
        return 0

    def _run(self, run: Run) -> dict[str, Any]:
        """Train (or go on training) one run, evaluate it, append its line and return it."""
        output = self.runs / run.name
        places = ["--data", str(self.data), "--output", str(output)]
        if self.cache_directory is not None:
            places += ["--cache-directory", str(self.cache_directory)]
        backbone = ["--backbone", run.backbone] if run.backbone is not None else []
        train = ["-m", "model.training", "train", *run.settings()]
        started = time.monotonic()
        if (output / "training" / "state.json").is_file():
            _call(["-m", "model.training", "train", "--resume", *places, *backbone])
        else:
            _call([*train, *places, *backbone])
        wall_s = time.monotonic() - started
        evaluate = ["-m", "model.training", "evaluate", "--checkpoint", str(output)]
        report = _call(
            [*evaluate, "--data", str(self.data), "--split", run.experiment.split, "--json"]
        )
        metrics = json.loads((output / "metrics.json").read_text())
        line = {
            "key": run.key,
            "experiment": run.experiment.name,
            "seed": run.seed,
            "command": " ".join(["python", *train]),
            "backbone": Path(run.backbone).name if run.backbone is not None else None,
            "dev_rsum": metrics["dev"]["rsum"],
            "best_step": metrics["best_step"],
            "steps": metrics["steps"],
            "steps_with_instance_level": metrics["steps_with_instance_level"],
            run.experiment.split: json.loads(report),
            "training_s": metrics["training_seconds"],
            "peak_memory_bytes": metrics["peak_memory_bytes"],
            "wall_s": round(wall_s, 1),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": _commit(),
        }
        append_line(self.results, line)
        if not self.json_output:
            rsum = json.loads(report)["rsum"]
            console.result(f"{run.name}  {run.experiment.split} rSum {rsum:.1f}")
        return line


def read_queue(path: Path, backbone: str | None = None) -> list[Run]:
    """Return the runs of a queue file, seed by seed: every experiment's first seed comes first.

    Raises:
        ConfigError: The file is missing or an entry is wrong.
    """
    try:
        entries = tomllib.loads(path.read_text())["experiment"]
        experiments = [Experiment.model_validate(entry) for entry in entries]
    except (OSError, KeyError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise ConfigError([f"queue = '{path}': {error}"]) from error
    return list(_seed_by_seed(experiments, backbone))


def finished_keys(results: Path) -> set[str]:
    """Return the keys of the runs that a results file holds; a torn last line counts as nothing."""
    if not results.is_file():
        return set()
    keys = set()
    for line in results.read_text().splitlines():
        try:
            keys.add(json.loads(line)["key"])
        except (ValueError, KeyError):
            continue
    return keys


def append_line(results: Path, line: Mapping[str, Any]) -> None:
    """Append one JSON line and make sure that it is on the disk."""
    results.parent.mkdir(parents=True, exist_ok=True)
    is_torn = results.is_file() and results.read_bytes()[-1:] not in (b"", b"\n")
    with results.open("a") as file:
        file.write(("\n" if is_torn else "") + json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _seed_by_seed(experiments: list[Experiment], backbone: str | None) -> Iterator[Run]:
    for place in range(max(len(experiment.seeds) for experiment in experiments)):
        for experiment in experiments:
            if place < len(experiment.seeds):
                yield Run(experiment, experiment.seeds[place], backbone)


def _flag(name: str, value: Any) -> list[str]:
    """Return the flag of one setting: `--no-a.b` for False, JSON for lists and tables."""
    dotted = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{dotted}" if value else f"--no-{dotted}"]
    return [f"--{dotted}", value if isinstance(value, str) else json.dumps(value)]


def _call(arguments: list[str]) -> str:
    """Run a command of this project, its progress on our stderr; return what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode == 130:
        raise KeyboardInterrupt
    if done.returncode:
        raise ExperimentError(
            f"python {' '.join(arguments)} ended with {done.returncode}; its message is above"
        )
    return done.stdout


def _commit() -> str:
    """Return the commit that ran, marked where the working tree differs from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(run_command("python -m benchmarks.experiments", Experiments))
