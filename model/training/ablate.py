"""The command `ablate`: a table of settings over seeds, trained, evaluated and compared."""

import tomllib
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from model import console
from model.command_line import Command, Names, Numbers, load_settings, settings_of
from model.errors import ConfigError
from model.training.ablation import (
    ABLATIONS,
    SEED_IS_SET,
    Row,
    Run,
    finished_lines,
    read_rows,
    runs_of,
)
from model.training.ablation_data import GivenData, refuse_other_data
from model.training.ablation_queue import RunQueue
from model.training.ablation_table import AblationTable
from model.training.child_commands import ChildCommands, termination_interrupts
from model.training.train import Train

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

    @classmethod
    def home_of(cls, flag: str) -> str:
        """Return where a setting of `train` belongs."""
        name = flag.removeprefix("--").removeprefix("no-").replace("-", "_")
        names = [each for each, _ in settings_of(Train) if each != "seed"]  # that is --seeds here
        name = next((each for each in names if name in (each, each.rpartition(".")[2])), "")
        if not name:
            return ""
        section, _, setting = name.rpartition(".")
        place = f" under [{section}]" if section else ""
        return (
            f"that is a setting of `train`; write {setting} = ...{place} into a TOML file and give "
            "it as --settings FILE, or as `overrides` of a row"
        )

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
            is_whole = RunQueue(
                children,
                given,
                results=results,
                output=self.output,
                cache_directory=self.cache_directory,
                device=self.device,
                jobs=self.jobs,
            ).run(left)
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
        self._refuse_seed()
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
        runs = runs_of(rows, seeds, common=common, backbone=self.backbone, split=self.split)
        self._refuse_wrong_settings(runs, common)
        return runs

    def _refuse_seed(self) -> None:
        """Raise ConfigError where the settings file has a seed, which would have no effect."""
        try:
            told = {} if self.settings is None else tomllib.loads(self.settings.read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            return  # told when the settings of the runs are read
        if "seed" in told:
            raise ConfigError([f"settings = '{self.settings}': seed: {SEED_IS_SET}"])

    def _refuse_wrong_settings(self, runs: list[Run], common: list[str]) -> None:
        """Raise ConfigError with what is wrong with the settings, and in which row that stands."""
        wrong: dict[str, list[str]] = {}
        for run in runs:
            try:
                if not run.members:
                    run.settings  # noqa: B018 - read now, and kept
            except ConfigError as error:
                wrong[run.row.name] = error.problems
        if not wrong:
            return
        try:
            load_settings("train", Train, common)
            shared = []
        except ConfigError as error:
            shared = error.problems
        raise ConfigError(
            [
                *shared,
                *(
                    f"table = '{self.table or ABLATIONS}', row '{name}': {problem}"
                    for name, problems in wrong.items()
                    for problem in problems
                    if problem not in shared
                ),
            ]
        )

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
