"""A table of ablations: rows of settings, a run for each row and seed, one line a finished run.

- A row says what it changes in a recipe; a run is a row with a seed.
- A run's key is a hash over what it computes, so that a table started again skips what is finished
  and a changed recipe is another run, never the old one resumed. What is reported on is part of
  it, but not of the key of its training: another split evaluates the checkpoint that is there.
- An ensemble trains nothing: it averages the similarities of runs of its rows, each of another
  seed. Runs of one seed begin with the same weights and take the same steps until the warm-up ends;
  their errors agree, and averaging them gains next to nothing.
"""

import hashlib
import json
import os
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from model.command_line import load_settings
from model.config import Section, first_problem
from model.errors import ConfigError
from model.training.train import Train

__all__ = [
    "ABLATIONS",
    "SEED_IS_SET",
    "Row",
    "Run",
    "append_line",
    "commit_of",
    "finished_lines",
    "read_rows",
    "runs_of",
]

ABLATIONS = Path(__file__).with_name("ablations.toml")
SEED_IS_SET = "`ablate` gives every run its seed; use --seeds"


class Row(Section):
    """One row of a table."""

    name: str = Field(pattern=r"^[a-z0-9-]+$", description="Short name, also of the runs' folders.")
    title: str = Field(description="What the table shows.")
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="Settings on top of the recipe, by dotted name."
    )
    ensemble: tuple[str, ...] = Field(
        (), description="Names of the rows whose similarities are averaged instead of training."
    )

    @model_validator(mode="after")
    def _ensembles_train_nothing(self) -> "Row":
        if self.ensemble and (self.overrides or len(self.ensemble) < 2):
            raise ValueError("an ensemble names two rows or more and has no overrides of its own")
        if "seed" in self.overrides:
            raise ValueError(f"seed: {SEED_IS_SET}")
        return self

    def flags(self) -> list[str]:
        """Return the overrides as flags of `train`."""
        return [part for item in self.overrides.items() for part in _flag(*item)]


@dataclass(frozen=True)
class Run:
    """One seed of one row.

    Attributes:
        row: What is changed.
        seed: Of everything random.
        common: Flags of all runs of the table, such as the recipe.
        backbone: Folder or name of a pretrained backbone.
        split: Which images are reported on.
        members: The runs that an ensemble averages.
    """

    row: Row
    seed: int
    common: tuple[str, ...]
    backbone: str | None
    split: str
    members: tuple["Run", ...] = ()

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        key = self.key if self.members else self.training_key
        return f"{self.row.name}-seed{self.seed}-{key[:6]}"

    @property
    def older_name(self) -> str:
        """Name that older versions gave the folder: with another one for each split."""
        return f"{self.row.name}-seed{self.seed}-{self.key[:6]}"

    @cached_property
    def settings(self) -> Train:
        """The settings of its training; not of an ensemble, which trains nothing."""
        return load_settings("train", Train, self.flags())

    @cached_property
    def key(self) -> str:
        """12 hex digits over what `training_key` is of, and the split; or over the members."""
        if self.members:
            return _hash([member.key for member in self.members])
        return _hash([*self._trained, self.split])

    @cached_property
    def training_key(self) -> str:
        """12 hex digits over the settings that are not the default, and the backbone.

        A new option, off by default, therefore leaves what is finished finished. Making a key
        parses all settings, which takes longer than anything else here.
        """
        return _hash(self._trained)

    @property
    def _trained(self) -> list[Any]:
        backbone = Path(self.backbone).name if self.backbone is not None else None
        return [self.settings.what_is_computed(), backbone]

    def flags(self) -> list[str]:
        """Return recipe, overrides and seed as flags of `train`."""
        return [*self.common, *self.row.flags(), "--seed", str(self.seed)]


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a table file, in its order.

    Raises:
        ConfigError: The file is missing or an entry is wrong.
    """
    try:
        rows = [Row.model_validate(entry) for entry in tomllib.loads(path.read_text())["row"]]
    except (KeyError, TypeError) as error:
        raise ConfigError([f"table = '{path}': it has no [[row]]"]) from error
    except ValidationError as error:
        told = f"{first_problem(error)}; a row has {', '.join(Row.model_fields)}"
        raise ConfigError([f"table = '{path}': {told}"]) from error
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError([f"table = '{path}': {error}"]) from error
    names = [row.name for row in rows]
    problems = [f"'{name}' stands there twice" for name in set(names) if names.count(name) > 1]
    problems += [
        f"'{row.name}' averages '{member}', which is no row of the table"
        for row in rows
        for member in row.ensemble
        if member not in names
    ]
    if problems:
        raise ConfigError([f"table = '{path}': {problem}" for problem in problems])
    return rows


def runs_of(
    rows: Sequence[Row],
    seeds: Sequence[int],
    *,
    common: Sequence[str],
    backbone: str | None,
    split: str,
) -> list[Run]:
    """Return a run for each row and seed, seed by seed: every row's first seed comes first.

    The first member of an ensemble has its seed, the second the seed after that, and so on in a
    ring. An ensemble that would average a run with itself, for want of seeds, is left out.
    """
    trained = {
        (row.name, seed): Run(row, seed, tuple(common), backbone, split)
        for row in rows
        for seed in seeds
        if not row.ensemble
    }
    runs = []
    for place, seed in enumerate(seeds):
        for row in rows:
            if not row.ensemble:
                runs.append(trained[row.name, seed])
                continue
            ring = [seeds[(place + step) % len(seeds)] for step in range(len(row.ensemble))]
            pairs = list(zip(row.ensemble, ring, strict=True))
            if len(set(pairs)) == len(pairs):
                members = tuple(trained[pair] for pair in pairs)
                runs.append(Run(row, seed, tuple(common), backbone, split, members))
    return runs


def finished_lines(results: Path) -> dict[str, dict[str, Any]]:
    """Return the lines of a results file by key; a torn last line counts as nothing."""
    lines: dict[str, dict[str, Any]] = {}
    if not results.is_file():
        return lines
    for text in results.read_text().splitlines():
        try:
            line = json.loads(text)
            lines[line["key"]] = line
        except (ValueError, KeyError, TypeError):
            continue
    return lines


def append_line(results: Path, line: Mapping[str, Any]) -> None:
    """Append one JSON line and make sure that it is on the disk."""
    results.parent.mkdir(parents=True, exist_ok=True)
    is_torn = results.is_file() and results.read_bytes()[-1:] not in (b"", b"\n")
    with results.open("a") as file:
        file.write(("\n" if is_torn else "") + json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def commit_of(folder: Path, *, besides: Path) -> str:
    """Return the commit of a repository's folder, marked `-dirty` where tracked files differ.

    Args:
        folder: In the repository.
        besides: A file that may differ: the results, which every finished run changes.
    """

    def said(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    commit = said("describe", "--always", "--abbrev=12")
    if not commit:
        return "unknown"
    root = Path(said("rev-parse", "--show-toplevel"))
    differing = set(said("diff", "HEAD", "--name-only", "-z").split("\0")) - {""}
    results = besides.resolve()
    if results.is_relative_to(root):
        differing.discard(results.relative_to(root).as_posix())
    return f"{commit}-dirty" if differing else commit


def _hash(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _flag(name: str, value: Any) -> list[str]:
    """Return the flag of one setting: `--no-a.b` for False, JSON for lists and tables."""
    dotted = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{dotted}" if value else f"--no-{dotted}"]
    return [f"--{dotted}", value if isinstance(value, str) else json.dumps(value)]
