"""Runs of one table are of the same images and captions, wherever those lie."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from model.data.source import find_source
from model.errors import DataError
from model.training.ablation import Row, Run, runs_of
from model.training.ablation_data import GivenData, refuse_other_data
from model.training.stored_ranks import data_hash
from tests.worlds import write_world

WHOLE = Row(name="whole", title="the whole")
LESS = Row(name="less", title="less data", overrides={"dataset.dev_last_count": 2})
SHUFFLED = Row(name="noise", title="noise", overrides={"dataset.shuffle_captions": True})
BOTH = Row(name="both", title="averaged", ensemble=("whole", "whole"))
RESULTS = Path("runs/results.jsonl")


def runs(*rows: Row, split: str = "test", seeds: Sequence[int] = (0, 1)) -> list[Run]:
    return runs_of(rows, seeds, common=(), backbone=None, split=split)


def lines(folder: Path, runs: Sequence[Run]) -> dict[str, Any]:
    """Return the lines that these runs would have on a data set."""
    given = GivenData(folder, split=runs[0].split)
    return {run.key: {"data": dict(given.hashes_of(run))} for run in runs}


@pytest.fixture
def worlds(tmp_path: Path) -> tuple[Path, Path]:
    """Return two data sets that share no picture."""
    return write_world(tmp_path / "one"), write_world(tmp_path / "two", image_count=13)


@pytest.mark.parametrize("split", ["test", "dev", "all"])
def test_runs_on_the_given_data_are_taken(worlds: tuple[Path, Path], split: str) -> None:
    table = runs(WHOLE, LESS, SHUFFLED, BOTH, split=split)
    finished = lines(worlds[0], table)
    for given in (None, GivenData(worlds[0], split=split)):
        refuse_other_data(table, finished, given, RESULTS)


@pytest.mark.parametrize("split", ["dev", "all"])
def test_images_that_the_seed_draws_are_other_ones_for_another_seed(
    tmp_path: Path, split: str
) -> None:
    one = write_world(tmp_path / "one", splits=("",), image_count=30)
    table = runs(WHOLE, SHUFFLED, split=split)
    finished = lines(one, table)
    first, second = (finished[run.key]["data"] for run in table if run.row is WHOLE)
    assert first["trained_on"] != second["trained_on"]
    assert first["drawn_from"] == second["drawn_from"] == data_hash(find_source(one).load())
    for given in (None, GivenData(one, split=split)):
        refuse_other_data(table, finished, given, RESULTS)
    two = write_world(tmp_path / "two", splits=("",), image_count=31)
    mixed = finished | {run.key: lines(two, table)[run.key] for run in table if run.seed == 1}
    with pytest.raises(DataError, match="holds runs on different images or captions"):
        refuse_other_data(table, mixed, None, RESULTS)


def test_one_run_on_other_data_is_named(worlds: tuple[Path, Path]) -> None:
    table = runs(WHOLE, LESS)
    finished = lines(worlds[0], table)
    odd = table[2]
    finished[odd.key] = lines(worlds[1], table)[odd.key]
    told = rf"runs/results\.jsonl holds runs on other images or captions .*\({odd.name}\); give"
    with pytest.raises(DataError, match=told):
        refuse_other_data(table, finished, GivenData(worlds[0], split="test"), RESULTS)
    with pytest.raises(DataError, match=rf"{table[0].name} and {odd.name}"):
        refuse_other_data(table, finished, None, RESULTS)


@pytest.mark.parametrize("name", ["trained_on", "selected_on", "reported_on"])
def test_each_hash_is_compared_between_seeds(worlds: tuple[Path, Path], name: str) -> None:
    table = runs(WHOLE)
    finished = lines(worlds[0], table)
    finished[table[1].key]["data"][name] = "0" * 16
    with pytest.raises(DataError, match="different images or captions"):
        refuse_other_data(table, finished, None, RESULTS)


def test_lines_that_tell_nothing_of_their_data_are_let_through(worlds: tuple[Path, Path]) -> None:
    table = runs(WHOLE, LESS)
    finished = lines(worlds[0], table)
    finished[table[0].key] = {"dev_rsum": 300.0}
    refuse_other_data(table, finished, GivenData(worlds[0], split="test"), RESULTS)


def test_data_are_read_once_for_each_way_to_cut_them(
    worlds: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = GivenData(worlds[0], split="test")
    table = runs(WHOLE, LESS)
    for run in table[:2]:
        given.hashes_of(run)
    monkeypatch.setattr("model.training.ablation_data.load_settings", None)
    for run in table:
        given.hashes_of(run)
