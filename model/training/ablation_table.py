"""What an ablation found: mean and spread of each row over its seeds, and how sure differences are.

Every row is compared with the first over the seeds that both have, by a paired bootstrap over the
images. The interval speaks of the images; the spread of the seeds stands beside it.

Ranks of other images or captions are never paired; what is missing therefore is told in a note.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from model import console
from model.training.ablation import Row, Run
from model.training.analysis import QuartileRecall, quartile_recalls
from model.training.bootstrap import Difference, paired_bootstrap
from model.training.comparison import IMAGES_ALONE
from model.training.stored_ranks import StoredRanks, read_ranks

__all__ = ["AblationTable", "TableRow", "ranks_path"]

_QUARTERS = 4


def ranks_path(results: Path, key: str) -> Path:
    """Return where the ranks of a finished run lie, beside the results file."""
    return results.with_name(f"{results.stem}-ranks") / f"{key}.npz"


@dataclass(frozen=True)
class TableRow:
    """One row of the table.

    Attributes:
        name: Of the row.
        title: What people read.
        seeds: Seeds that are finished.
        dev_rsum: Of the images that selected the checkpoints, mean over the seeds; None of an
            ensemble.
        rsum: Mean over the seeds.
        rsum_deviation: Standard deviation over the seeds; None with one seed.
        recalls: Means of the six recalls, image -> text first.
        difference: Of rSum from the first row; None in the first, or where nothing can be paired.
        by_neighbour_similarity: text -> image R@1 in quarters of how similar the nearest other
            image is, as the first row's first seed sees it; None as `difference`.
        by_rarity: text -> image R@1 in quarters of how rare the caption's rarest word is.
        notes: What is missing and why.
    """

    name: str
    title: str
    seeds: tuple[int, ...]
    dev_rsum: float | None
    rsum: float
    rsum_deviation: float | None
    recalls: tuple[float, ...]
    difference: Difference | None
    by_neighbour_similarity: tuple[QuartileRecall, ...] | None
    by_rarity: tuple[QuartileRecall, ...] | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class AblationTable:
    """All rows with at least one finished seed, in the order asked for.

    Attributes:
        split: Which images are reported on.
        rows: Those with a finished seed.
        run_count: Runs asked for.
        finished_count: Those of them that are finished.
        splits_of_others: How many other runs are finished on each split.
    """

    split: str
    rows: tuple[TableRow, ...]
    run_count: int
    finished_count: int
    splits_of_others: Mapping[str, int]

    @classmethod
    def of(
        cls, runs: Sequence[Run], finished: Mapping[str, Mapping[str, Any]], results: Path
    ) -> "AblationTable":
        """Return the table of what is finished of some runs."""
        found = [
            _FinishedRun.of(run, finished[run.key], ranks_path(results, run.key))
            for run in runs
            if run.key in finished
        ]
        by_row: dict[str, list[_FinishedRun]] = {}
        for run in found:
            by_row.setdefault(run.row.name, []).append(run)
        first = by_row[found[0].row.name] if found else []
        return cls(
            split=runs[0].split if runs else "",
            rows=tuple(_table_row(of_row, first) for of_row in by_row.values()),
            run_count=len(runs),
            finished_count=len(found),
            splits_of_others=_splits_of(finished, {run.key for run in runs}),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def show(self) -> None:
        """Print the table, and the quartiles where the ranks are there."""
        if not self.rows:
            console.result(f"nothing is finished yet on {self.split}")
            if self.splits_of_others:
                told = ", ".join(f"{n} on {split}" for split, n in self.splits_of_others.items())
                console.result(
                    f"other runs are ({told}): give the --split, --recipe, --settings, --rows and "
                    "--seeds that they were made with"
                )
            return
        console.table(
            f"{self.split} · {self.finished_count} of {self.run_count} runs",
            [
                "",
                "seeds",
                "dev rSum",
                "rSum",
                "± seeds",
                "image → text R@1/5/10",
                "text → image R@1/5/10",
                "against the first [95 %]",
            ],
            [
                [
                    row.title,
                    len(row.seeds),
                    _number(row.dev_rsum),
                    f"{row.rsum:.1f}",
                    _number(row.rsum_deviation),
                    _recalls(row.recalls[:3]),
                    _recalls(row.recalls[3:]),
                    _interval(row.difference),
                ]
                for row in self.rows
            ],
        )
        if any(row.difference is not None and len(row.seeds) == 1 for row in self.rows):
            console.result(IMAGES_ALONE)
        for row in self.rows:
            for note in row.notes:
                console.result(f"{row.title}: {note}")
        for title, name in (
            ("nearest other image: unlike ... alike", "by_neighbour_similarity"),
            ("rarest word of the caption: rare ... frequent", "by_rarity"),
        ):
            quarters = [(row.title, getattr(row, name)) for row in self.rows if getattr(row, name)]
            if quarters:
                sizes = [quarter.query_count for quarter in quarters[0][1]]
                columns = ["first quarter", "second", "third", "last"]
                if len(sizes) < _QUARTERS:
                    columns = [f"{size:,} captions" for size in sizes]
                console.table(
                    f"text → image R@1 by {title}",
                    ["", *columns],
                    [[row, *(f"{q.recall_at_1:.1f}" for q in found)] for row, found in quarters],
                )
                if len(sizes) < _QUARTERS:
                    console.result("these are no quarters: captions of equal value stand together")


def _splits_of(finished: Mapping[str, Mapping[str, Any]], keys: Set[str]) -> dict[str, int]:
    """Return how many finished runs that are not among `keys` were reported on each split."""
    return dict(
        Counter(
            name
            for key, line in finished.items()
            if key not in keys
            for name, told in line.items()
            if isinstance(told, Mapping) and "rsum" in told
        )
    )


@dataclass(frozen=True)
class _FinishedRun:
    row: Row
    seed: int
    dev_rsum: float | None
    report: Mapping[str, Any]
    reported_on: str | None
    stored: StoredRanks | None

    @classmethod
    def of(cls, run: Run, line: Mapping[str, Any], ranks: Path) -> "_FinishedRun":
        stored = read_ranks(ranks) if ranks.is_file() else None
        told = line.get("data", {}).get("reported_on")
        reported_on = told if stored is None else stored.facts.data_hash
        return cls(run.row, run.seed, line.get("dev_rsum"), line[run.split], reported_on, stored)


def _table_row(of_row: Sequence[_FinishedRun], first: Sequence[_FinishedRun]) -> TableRow:
    rsums = [run.report["rsum"] for run in of_row]
    dev_rsums = [run.dev_rsum for run in of_row if run.dev_rsum is not None]
    recalls = [
        mean(run.report[way][f"recall_at_{k}"] for run in of_row)
        for way in ("image_to_text", "text_to_image")
        for k in (1, 5, 10)
    ]
    notes = []
    if len({run.reported_on for run in of_row} - {None}) > 1:
        notes.append("the means are over seeds that were reported on different images or captions")
    why = _why_unpaired(of_row, first)
    difference = None if why or of_row is first else _difference(first, of_row)
    if why:
        missing = "no quarters" if of_row is first else "no difference and no quarters"
        notes.append(f"{missing}, as {why}")
    elif difference is None and of_row is not first:
        notes.append("no difference, as it and the first row have ranks of no common seed")
    return TableRow(
        name=of_row[0].row.name,
        title=of_row[0].row.title,
        seeds=tuple(run.seed for run in of_row),
        dev_rsum=mean(dev_rsums) if dev_rsums else None,
        rsum=mean(rsums),
        rsum_deviation=stdev(rsums) if len(rsums) > 1 else None,
        recalls=tuple(recalls),
        difference=difference,
        by_neighbour_similarity=None if why else _quarters(of_row, first, is_by_image=True),
        by_rarity=None if why else _quarters(of_row, first, is_by_image=False),
        notes=tuple(notes),
    )


def _why_unpaired(of_row: Sequence[_FinishedRun], first: Sequence[_FinishedRun]) -> str:
    """Return why the ranks of a row cannot be set beside those of the first; empty: they can."""
    if not any(run.stored for run in of_row):
        return "its ranks are not there"
    if not any(run.stored for run in first):
        return "the ranks of the first row are not there"
    hashes = {run.stored.facts.data_hash for run in (*first, *of_row) if run.stored is not None}
    if len(hashes) == 1:
        return ""
    who = "the ranks of its seeds" if of_row is first else "its ranks and those of the first row"
    return f"{who} are not all of the same images and captions"


def _difference(first: Sequence[_FinishedRun], second: Sequence[_FinishedRun]) -> Difference | None:
    """Return how much better the second row is, over the seeds that both rows have ranks of."""
    of_seed = {run.seed: run.stored for run in first}
    pairs = [
        (of_seed[run.seed], run.stored)
        for run in second
        if of_seed.get(run.seed) is not None and run.stored is not None
    ]
    if not pairs:
        return None
    left = [pair[0] for pair in pairs if pair[0] is not None]
    right = [pair[1] for pair in pairs]
    return paired_bootstrap(
        [stored.ranks for stored in left],
        [stored.ranks for stored in right],
        left[0].facts.caption_image,
    )["rsum"]


def _quarters(
    of_row: Sequence[_FinishedRun], first: Sequence[_FinishedRun], *, is_by_image: bool
) -> tuple[QuartileRecall, ...] | None:
    """Return text -> image R@1 in quarters that are the same for every row; mean over seeds."""
    stored = [run.stored for run in of_row if run.stored is not None]
    measure = next((run.stored for run in first if run.stored is not None), None)
    if measure is None:
        return None
    facts = measure.facts
    values = facts.rarest_word_counts
    if is_by_image:
        values = facts.neighbour_similarity[facts.caption_image]
    of_seeds = [quartile_recalls(values, run.ranks.text_to_image) for run in stored]
    return tuple(
        QuartileRecall(
            lowest=same[0].lowest,
            highest=same[0].highest,
            query_count=same[0].query_count,
            recall_at_1=mean(quarter.recall_at_1 for quarter in same),
        )
        for same in zip(*of_seeds, strict=True)
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _recalls(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.1f}" for value in values)


def _interval(difference: Difference | None) -> str:
    if difference is None:
        return ""
    return f"{difference.estimate:+.1f} [{difference.low:+.1f}, {difference.high:+.1f}]"
