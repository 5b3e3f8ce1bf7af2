"""Are the runs of a table of the same images and captions, and of those that are given now?

The line of a finished run tells it by hashes, under `data`: what it was `trained_on`, `selected_on`
and `reported_on`, and what the seed drew the first two from, if it did. No path is among them, so
data may be moved. A line of an older version tells nothing of its data and is let through.
"""

from collections.abc import Mapping, Sequence, Set
from itertools import combinations
from pathlib import Path
from typing import Any

from model.command_line import load_settings
from model.data.source import find_source
from model.errors import DataError, NoSplitsError
from model.training.ablation import Run
from model.training.run_images import run_hashes
from model.training.stored_ranks import data_hash
from model.training.train import Train

__all__ = ["GivenData", "data_flags", "refuse_other_data"]

Hashes = Mapping[str, str]
_NAMED_COUNT = 3


class GivenData:
    """The data set that is given now, read once for each way in which the runs of a table cut it.

    Attributes:
        folder: Where it lies.

    Raises:
        DataError: There is none, or no image to report on.
    """

    def __init__(self, folder: Path, *, split: str) -> None:
        self.folder = folder
        self._read: dict[tuple[str, int | None], Hashes] = {}
        self._reported_on: str | None = None
        source = find_source(folder)
        try:
            self._reported_on = data_hash(source.load(None if split == "all" else [split]))
        except NoSplitsError:
            if split != "dev":  # else `evaluate` takes those that selected the run
                raise

    def hashes_of(self, run: Run) -> Hashes:
        """Return the hashes that a run on these data has in its line.

        Raises:
            ConfigError: The data do not fit the settings of the run.
            DataError: The data cannot be used, or not as the settings of the run ask.
        """
        reported = {} if self._reported_on is None else {"reported_on": self._reported_on}
        if run.members:
            return reported
        trained = self._training_hashes(run)
        return {"reported_on": trained["selected_on"], **trained, **reported}

    def refuse_trained_on_others(self, run: Run, folder: Path, told: Hashes) -> None:
        """Raise DataError where the checkpoint in a folder tells that it learnt from other data."""
        if _differ(told, self.hashes_of(run)):
            raise DataError(
                f"'{folder}' was trained on other images or captions than those of {self.folder}; "
                "give the data of that run, or another --output"
            )

    def _training_hashes(self, run: Run) -> Hashes:
        asked = run.settings.dataset.model_dump_json()
        for seed in (None, run.seed):
            if (asked, seed) in self._read:
                return self._read[asked, seed]
        flags = [*run.flags(), *data_flags(run, self.folder)]
        try:
            found = run_hashes(load_settings("train", Train, flags).training_data())
        except DataError as error:
            told = f"{run.row.name}: {error}"
            if "--dataset." in str(error):
                told += "; for `ablate` in a file, under [dataset]: --settings FILE"
            raise DataError(told) from error
        self._read[asked, run.seed if "drawn_from" in found else None] = found
        return found


def data_flags(run: Run, data: Path) -> list[str]:
    """Return the flags of `train` that say what a run reads."""
    backbone = [] if run.backbone is None else ["--backbone", run.backbone]
    return ["--data", str(data), *backbone]


def refuse_other_data(
    runs: Sequence[Run],
    finished: Mapping[str, Mapping[str, Any]],
    given: GivenData | None,
    results: Path,
) -> None:
    """Refuse a table whose finished runs are not all of the same data, and of those given.

    Args:
        runs: The runs of the table.
        finished: The lines of finished runs, by key.
        given: The data that are given now, if any.
        results: Where the lines stand, for the message.

    Raises:
        ConfigError: The given data do not fit the settings of a run.
        DataError: Runs are of other data, or the given data cannot be used.
    """
    told = [(run, finished[run.key]["data"]) for run in runs if "data" in finished.get(run.key, {})]
    if given is not None:
        others = [run.name for run, data in told if _differ(data, given.hashes_of(run))]
        if others:
            more = f" and {len(others) - _NAMED_COUNT} more" if len(others) > _NAMED_COUNT else ""
            raise DataError(
                f"{results} holds runs on other images or captions than those of {given.folder} "
                f"({', '.join(others[:_NAMED_COUNT])}{more}); give the data of these runs, or "
                "another --output and, if you name one, other --results"
            )
    does_seed_draw_reported = any(
        "drawn_from" in data and data["reported_on"] == data["selected_on"] for _, data in told
    )
    for (one, its), (other, theirs) in combinations(told, 2):
        compared = set() if does_seed_draw_reported else {"reported_on"}
        if not one.members and not other.members:
            compared |= _told_alike(one, other, is_drawn="drawn_from" in its)
        if _differ(its, theirs, compared):
            raise DataError(
                f"{results} holds runs on different images or captions ({one.name} and "
                f"{other.name}): no table can compare them; choose those of one data set by "
                "--rows and --seeds"
            )


def _told_alike(one: Run, other: Run, *, is_drawn: bool) -> set[str]:
    """Return the hashes of what two runs learn from that are equal where their data are."""
    if one.settings.dataset != other.settings.dataset:
        return set()
    if is_drawn and one.seed != other.seed:
        return {"drawn_from"}
    return {"drawn_from", "trained_on", "selected_on"}


def _differ(one: Hashes, other: Hashes, compared: Set[str] | None = None) -> bool:
    """Return whether two differ in a hash that both have, of those compared (unset: of all)."""
    names = one.keys() & other.keys()
    if compared is not None:
        names &= compared
    return any(one[name] != other[name] for name in names)
