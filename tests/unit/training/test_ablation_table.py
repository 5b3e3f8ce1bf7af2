"""What a table shows of finished runs, and what it says of what it cannot show."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.ranking import Ranking
from model.training.ablation import ABLATIONS, Row, Run, finished_lines, read_rows, runs_of
from model.training.ablation_table import AblationTable, ranks_path
from model.training.stored_ranks import QueryFacts, write_ranks

ROWS = [
    Row(name="whole", title="the whole"),
    Row(name="less", title="less", overrides={"loss.margin": 0.3}),
]


def runs(seeds: tuple[int, ...] = (0, 1)) -> list[Run]:
    return runs_of(ROWS, seeds, common=(), backbone=None, split="test")


def line(rsum: float) -> dict[str, Any]:
    recalls = {f"recall_at_{k}": rsum / 6 for k in (1, 5, 10)}
    return {
        "dev_rsum": rsum - 10,
        "test": {"rsum": rsum, "image_to_text": recalls, "text_to_image": recalls},
    }


def write(results: Path, run: Run, *, data_hash: str) -> None:
    """Write ranks of eight images with a caption each."""
    facts = QueryFacts(np.arange(8), np.arange(8), np.linspace(0, 1, 8), "captions", data_hash)
    ranks = torch.arange(8) % (2 + run.seed)
    path = ranks_path(results, run.key)
    path.parent.mkdir(exist_ok=True)
    write_ranks(path, Ranking(ranks, ranks, torch.zeros(8)), facts, ["checkpoint"])


def table(
    tmp_path: Path, hashes: Mapping[tuple[str, int], str | None], *, seeds: tuple[int, ...] = (0, 1)
) -> AblationTable:
    """Return the table of the runs named, with ranks of the data named."""
    results = tmp_path / "results.jsonl"
    finished = {}
    for run in runs(seeds):
        name = (run.row.name, run.seed)
        if name in hashes:
            finished[run.key] = line(100.0 + run.seed)
            told = hashes[name]
            if told is not None:
                write(results, run, data_hash=told)
    return AblationTable.of(runs(seeds), finished, results)


def test_rows_on_the_same_data_have_a_difference_and_nothing_to_note(tmp_path: Path) -> None:
    hashes = {(name, seed): "a" for name in ("whole", "less") for seed in (0, 1)}
    found = table(tmp_path, hashes)
    assert [row.notes for row in found.rows] == [(), ()]
    assert found.rows[1].difference is not None
    assert [row.dev_rsum for row in found.rows] == [90.5, 90.5]
    assert all(row.by_rarity and row.by_neighbour_similarity for row in found.rows)


@pytest.mark.parametrize(
    ("names", "seeds"),
    [
        (("fusion", "without-cross"), (0, 1, 2)),
        (("fusion", "contrastive", "contrastive-no-instance-level"), (0, 1)),
        (("fusion", "contrastive", "contrastive-no-instance-level"), (0,)),
    ],
)
def test_the_table_of_the_written_experiments_has_the_dev_figures_of_their_page(
    tmp_path: Path, names: tuple[str, ...], seeds: tuple[int, ...]
) -> None:
    docs = Path(__file__).parents[3] / "docs"
    finished = finished_lines(docs / "experiments.jsonl")
    rows = [row for row in read_rows(ABLATIONS) if row.name in names]
    common = ["--recipe", "flickr8k-cpu"]
    asked = runs_of(rows, seeds, common=common, backbone="mobilenet-v2", split="val")
    page = (docs / "experiments.md").read_text()
    shown = AblationTable.of(asked, finished, tmp_path / "without-ranks.jsonl").rows
    assert [row.seeds for row in shown] == [seeds] * len(names)
    for row in shown:
        assert f"{row.dev_rsum:.1f}" in page


def test_ranks_of_other_captions_are_not_paired_and_it_is_told(tmp_path: Path) -> None:
    found = table(tmp_path, {("whole", 0): "a", ("less", 0): "b"})
    assert found.rows[1].difference is found.rows[1].by_rarity is None
    (note,) = found.rows[1].notes
    assert note.startswith("no difference and no quarters, as its ranks and those of the first")
    assert found.rows[0].by_rarity


def test_a_mean_over_seeds_on_different_captions_is_told(tmp_path: Path) -> None:
    found = table(tmp_path, {("whole", 0): "a", ("whole", 1): "b"})
    mixed, quarters = found.rows[0].notes
    assert mixed == "the means are over seeds that were reported on different images or captions"
    assert quarters.startswith("no quarters, as the ranks of its seeds")


def test_what_ranks_or_seeds_are_missing_is_told(tmp_path: Path) -> None:
    (note,) = table(tmp_path, {("whole", 0): "a", ("less", 1): "a"}).rows[1].notes
    assert note == "no difference, as it and the first row have ranks of no common seed"
    other = tmp_path / "other"
    other.mkdir()
    found = table(other, {("whole", 0): "a", ("less", 0): None})
    assert found.rows[1].notes == ("no difference and no quarters, as its ranks are not there",)


def test_what_is_finished_otherwise_is_told_where_nothing_asked_for_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished = {run.key: line(100.0) for run in runs()}
    on_val = runs_of(ROWS, (0, 1), common=(), backbone=None, split="val")
    AblationTable.of(on_val, finished, tmp_path / "results.jsonl").show()
    shown = capsys.readouterr().out
    assert "nothing is finished yet on val" in shown
    assert "other runs are (4 on test): give the --split, --recipe, --settings" in shown
    AblationTable.of(on_val, {}, tmp_path / "results.jsonl").show()
    assert "other runs" not in capsys.readouterr().out


def test_groups_that_are_no_quarters_are_not_called_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hashes = {(name, seed): "a" for name in ("whole", "less") for seed in (0, 1)}
    shown = table(tmp_path, hashes)
    shown.show()
    assert capsys.readouterr().out.count("first quarter") == 2
    alike = shown.rows[0].by_rarity
    assert alike is not None
    rows = tuple(replace(row, by_rarity=alike[:3]) for row in shown.rows)
    replace(shown, rows=rows).show()
    told = capsys.readouterr().out
    assert told.count("first quarter") == 1 and "2 captions" in told
    assert "these are no quarters: captions of equal value stand together" in told
