"""The runs of a table that are left: trained, evaluated and written down, some side by side."""

import json
import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model import console
from model.training.ablation import Run, append_line, commit_of
from model.training.ablation_data import GivenData, data_flags
from model.training.ablation_table import ranks_path
from model.training.child_commands import ChildCommands
from model.training.stored_ranks import read_ranks

__all__ = ["RunQueue"]


class RunQueue:
    """The runs that are left, some side by side, ensembles as soon as their members are there."""

    def __init__(
        self,
        children: ChildCommands,
        given: GivenData,
        *,
        results: Path,
        output: Path,
        cache_directory: Path | None,
        device: str,
        jobs: int,
    ) -> None:
        self._children = children
        self._given = given
        self._results = results
        self._output = output
        self._cache_directory = cache_directory
        self._device = device
        self._jobs = jobs
        self._skipped = 0
        self._has_failed = False
        self._warnings: set[str] = set()
        self._telling = threading.Lock()

    def run(self, left: list[Run]) -> bool:
        """Run them; return False where an ensemble lacks the checkpoints of its members.

        Raises:
            TrainingError: A run failed; the others that had begun were let to end.
            KeyboardInterrupt: A run was stopped, or this process; every run was asked to end, and
                has.
        """
        if left and self._jobs > 1:
            console.say(f"side by side; what each run says is in {self._output}/*.log")
        trained = [run for run in left if not run.members]
        waiting = [run for run in left if run.members]
        unfinished = {run.key for run in trained}
        with ThreadPoolExecutor(self._jobs) as pool:
            futures: dict[Future[None], Run] = {}
            try:
                for run in trained:
                    futures[pool.submit(self._train_unless_failed, run)] = run
                while True:
                    ready = [r for r in waiting if unfinished.isdisjoint(m.key for m in r.members)]
                    waiting = [run for run in waiting if run not in ready]
                    for run in ready:
                        futures[pool.submit(self._average, run)] = run
                    if not futures:
                        break
                    done, _ = wait(futures, return_when=FIRST_COMPLETED)
                    for future in done:
                        unfinished.discard(futures.pop(future).key)
                        future.result()
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    self._children.stop()
                pool.shutdown(cancel_futures=True)
                raise
        return self._skipped == 0

    def _train_unless_failed(self, run: Run) -> None:
        """Train a run; begin none after one failed, which would most often fail alike."""
        if self._has_failed:
            return
        try:
            self._train(run)
        except BaseException:
            self._has_failed = True
            raise

    def _train(self, run: Run) -> None:
        """Train (or go on training) one run, evaluate it and append its line.

        One that was trained for the table of another split is only evaluated.
        """
        output = self._folder(run)
        places = [*data_flags(run, self._given.folder), "--output", str(output)]
        places += ["--device", self._device]
        if self._cache_directory is not None:
            places += ["--cache-directory", str(self._cache_directory)]
        train = ["-m", "model.training", "train", *run.flags()]
        started = time.monotonic()
        if self._is_trained(run, output):
            console.say(f"{run.name}  was trained before; evaluating it")
        elif (output / "training" / "settings.json").is_file():
            self._call(run, ["-m", "model.training", "train", "--resume", *places])
        else:
            self._call(run, [*train, *places])
        wall_s = time.monotonic() - started
        metrics = json.loads((output / "metrics.json").read_text())
        self._finish(
            run,
            [output],
            {
                "command": " ".join(["python", *train]),
                "backbone": Path(run.backbone).name if run.backbone is not None else None,
                "data": metrics["data"],
                "dev_rsum": metrics["dev"]["rsum"],
                "best_step": metrics["best_step"],
                "steps": metrics["steps"],
                "steps_with_instance_level": metrics["steps_with_instance_level"],
                "neighbour_s": metrics["neighbour_seconds"],
                "training_s": metrics["training_seconds"],
                "peak_memory_bytes": metrics["peak_memory_bytes"],
                "wall_s": round(wall_s, 1),
            },
        )

    def _is_trained(self, run: Run, output: Path) -> bool:
        """Return whether a run has taken all of its steps.

        Raises:
            DataError: It took some on other data.
        """
        try:
            metrics = json.loads((output / "metrics.json").read_text())
            self._given.refuse_trained_on_others(run, output, metrics["data"])
            return bool(metrics["steps"] >= metrics["planned_steps"])
        except (OSError, ValueError, KeyError, TypeError):
            return False  # written by an older version, or not at all

    def _average(self, run: Run) -> None:
        """Evaluate the mean of checkpoints that are there already."""
        folders = [self._folder(member) for member in run.members]
        missing = [str(folder) for folder in folders if not (folder / "config.json").is_file()]
        if missing:
            self._skipped += 1
            console.warn(
                f"{run.name}: its members were trained elsewhere; there is no {', '.join(missing)}"
            )
            return
        self._finish(run, folders, {"members": [member.name for member in run.members]})

    def _finish(self, run: Run, checkpoints: Iterable[Path], told: dict[str, Any]) -> None:
        """Evaluate, keep the ranks, append the line of a run."""
        ranks = ranks_path(self._results, run.key)
        ranks.parent.mkdir(parents=True, exist_ok=True)
        evaluate = ["-m", "model.training", "evaluate", "--split", run.split, "--json"]
        for checkpoint in checkpoints:
            evaluate += ["--checkpoint", str(checkpoint)]
        evaluate += ["--data", str(self._given.folder), "--device", self._device]
        report = json.loads(self._call(run, [*evaluate, "--ranks", str(ranks)]))
        reported_on = read_ranks(ranks).facts.data_hash
        line = {
            "key": run.key,
            "row": run.row.name,
            "seed": run.seed,
            **told,
            "data": {**told.get("data", {}), "reported_on": reported_on},
            run.split: report,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit_of(Path(__file__).parent, besides=self._results),
        }
        append_line(self._results, line)
        console.say(f"{run.name}  {run.split} rSum {report['rsum']:.1f}")

    def _folder(self, run: Run) -> Path:
        folder, older = (self._output / name for name in (run.name, run.older_name))
        return older if older.is_dir() and not folder.is_dir() else folder

    def _call(self, run: Run, arguments: list[str]) -> str:
        """Run a command of this project; side by side, each run's progress goes to a log."""
        if self._jobs == 1:
            return self._children.call(arguments)
        self._output.mkdir(parents=True, exist_ok=True)
        cores = max(1, (os.cpu_count() or 1) // self._jobs)
        with (self._output / f"{run.name}.log").open("a") as log:
            said = self._children.call(arguments, log=log, threads=cores)
        self._repeat_warnings(run)
        return said

    def _repeat_warnings(self, run: Run) -> None:
        """Show the warnings that went to the log of a run, each once for the whole table."""
        lines = (self._output / f"{run.name}.log").read_text().splitlines()
        with self._telling:  # runs side by side warn of the same
            for line in lines:
                if line.startswith("warning: ") and line not in self._warnings:
                    self._warnings.add(line)
                    console.warn(f"{run.name}: {line.removeprefix('warning: ')}")
