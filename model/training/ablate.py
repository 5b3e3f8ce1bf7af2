"""The command `ablate`: a table of settings over seeds, trained, evaluated and compared."""

import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from model import console
from model.command_line import Command, Names, Numbers
from model.errors import ConfigError
from model.training.ablation import (
    ABLATIONS,
    Row,
    Run,
    append_line,
    commit_of,
    finished_lines,
    read_rows,
    runs_of,
)
from model.training.ablation_data import GivenData, data_flags, refuse_other_data
from model.training.ablation_table import AblationTable, ranks_path
from model.training.child_commands import ChildCommands, termination_interrupts
from model.training.stored_ranks import read_ranks

__all__ = ["Ablate"]

_QUICK_ROWS = ("fusion", "no-instance-level")
_QUICK_STEPS = 600
_SCENES = Path("data/scenes")


class Ablate(Command):
    """Train rows of settings over seeds, and tell what each of them is worth."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m model.training ablate --recipe scenes --quick",
        "python -m model.training ablate --recipe flickr8k-cpu --data flickr8k "
        "--backbone mobilenet-v2 --split val --rows fusion,without-s,without-a --jobs 2",
    )

    table: Path | None = Field(
        None, description="TOML file with [[row]] entries; unset: the method's ablations."
    )
    rows: Names = Field((), description="Names of rows, with commas; unset: all.")
    seeds: Numbers = Field((), description="With commas; unset: 0,1,2.")
    recipe: str | None = Field(None, description="Recipe that the rows change.")
    settings: Path | None = Field(
        None, description="TOML file with settings of `train` that the rows change."
    )
    data: Path | None = Field(
        None,
        description="Folder of the data set; --show needs none, and compares one that is given.",
    )
    backbone: str | None = Field(
        None, description="Folder or name of a pretrained vision backbone."
    )
    device: str = Field("auto", description="cpu, cuda, or auto: cuda where there is one.")
    cache_directory: Path | None = Field(None, description="Where features are kept.")
    split: str = Field("test", description="Which images are reported on.")
    output: Path = Field(Path("runs/ablation"), description="Where the runs' folders go.")
    results: Path | None = Field(
        None, description="A finished run appends its line here; unset: results.jsonl in --output."
    )
    jobs: int = Field(1, ge=1, description="Runs side by side; they share the cores evenly.")
    quick: bool = Field(
        False,
        description="With and without the instance level, one seed, 600 steps: a first look.",
    )
    show: bool = Field(False, description="Train nothing; show the table of what is finished.")

    def run(self) -> int:
        """Run what is left of the table and print it; 0 when nothing is left, 130 when stopped."""
        self._refuse_what_is_missing()
        try:
            with termination_interrupts():
                return self._run(ChildCommands())
        except KeyboardInterrupt:
            console.say(
                "stopped; the same `ablate` command goes on: what is finished stays, and a run "
                "that had begun goes on where it was saved"
            )
            return 130

    def _run(self, children: ChildCommands) -> int:
        runs = self._runs()
        data = self._data(children)
        given = None if data is None else GivenData(data, split=self.split)
        results = self.results if self.results is not None else self.output / "results.jsonl"
        finished = finished_lines(results)
        left = [run for run in runs if run.key not in finished]
        console.say(f"table  {len(runs)} runs, {len(runs) - len(left)} finished  {results}")
        refuse_other_data(runs, finished, given, results)
        is_whole = True
        if given is not None and not self.show:
            for run in left:
                given.hashes_of(run)  # refuses, before the first run, what one cannot use
            is_whole = _Queue(self, children, given, results).run(left)
            # Once more: the data may have changed meanwhile.
            refuse_other_data(runs, finished_lines(results), given, results)
        table = AblationTable.of(runs, finished_lines(results), results)
        if self.json_output:
            console.result_json(table.as_dict())
        else:
            table.show()
        return 0 if is_whole else 1

    def _refuse_what_is_missing(self) -> None:
        """Raise ConfigError with everything that only the user can say and did not."""
        problems = []
        if self.recipe is None and self.settings is None:
            problems.append("recipe: give --recipe NAME or --settings FILE of what is changed")
        if self.data is None and self.recipe != "scenes" and not self.show:
            problems.append("data: give --data FOLDER of the data set (or set HREM_DATA)")
        if problems:
            raise ConfigError(problems)

    def _runs(self) -> list[Run]:
        rows = self._chosen(read_rows(self.table or ABLATIONS))
        common: list[str] = []
        if self.recipe is not None:
            common += ["--recipe", self.recipe]
        if self.settings is not None:
            common += ["--config", str(self.settings)]
        if self.quick:
            steps = str(_QUICK_STEPS)
            common += ["--schedule.steps", steps, "--schedule.evaluate-every", steps]
        # Each once: two runs of one key would write into the same folder.
        seeds = list(dict.fromkeys(self.seeds)) or ([0] if self.quick else [0, 1, 2])
        return runs_of(rows, seeds, common=common, backbone=self.backbone, split=self.split)

    def _chosen(self, rows: list[Row]) -> list[Row]:
        names = list(dict.fromkeys(self.rows or (_QUICK_ROWS if self.quick else ())))
        if not names:
            return rows
        by_name = {row.name: row for row in rows}
        problems = [
            f"rows: there is no row {name!r}; there are: {', '.join(by_name)}"
            for name in names
            if name not in by_name
        ]
        problems += [
            f"rows: {name} averages {member}, which is not among them"
            for name in names
            if name in by_name
            for member in by_name[name].ensemble
            if member not in names
        ]
        if problems:
            raise ConfigError(problems)
        return [by_name[name] for name in names]

    def _data(self, children: ChildCommands) -> Path | None:
        """Return the folder of the data set; None where the table is only shown."""
        if self.data is not None or self.show:
            return self.data
        if not _SCENES.exists():
            children.call(["-m", "model.data.scenes", "--output", str(_SCENES)])
        return _SCENES


class _Queue:
    """The runs that are left, some side by side, ensembles as soon as their members are there."""

    def __init__(
        self, command: Ablate, children: ChildCommands, given: GivenData, results: Path
    ) -> None:
        self._command = command
        self._children = children
        self._given = given
        self._results = results
        self._skipped = 0
        self._has_failed = False

    def run(self, left: list[Run]) -> bool:
        """Run them; return False where an ensemble lacks the checkpoints of its members.

        Raises:
            TrainingError: A run failed; the others that had begun were let to end.
            KeyboardInterrupt: A run was stopped, or this process; every run was asked to end, and
                has.
        """
        trained = [run for run in left if not run.members]
        waiting = [run for run in left if run.members]
        unfinished = {run.key for run in trained}
        with ThreadPoolExecutor(self._command.jobs) as pool:
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
        places += ["--device", self._command.device]
        if self._command.cache_directory is not None:
            places += ["--cache-directory", str(self._command.cache_directory)]
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
        except (OSError, ValueError, KeyError):  # written by an older version, or not at all
            return False

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
        evaluate += ["--data", str(self._given.folder), "--device", self._command.device]
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
        folder, older = (self._command.output / name for name in (run.name, run.older_name))
        return older if older.is_dir() and not folder.is_dir() else folder

    def _call(self, run: Run, arguments: list[str]) -> str:
        """Run a command of this project; side by side, each run's progress goes to a log."""
        jobs = self._command.jobs
        if jobs == 1:
            return self._children.call(arguments)
        self._command.output.mkdir(parents=True, exist_ok=True)
        cores = max(1, (os.cpu_count() or 1) // jobs)
        with (self._command.output / f"{run.name}.log").open("a") as log:
            return self._children.call(arguments, log=log, threads=cores)
