"""A table of ablations through the real command on a tiny world."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.command_line import load_settings, run_command
from model.metrics import metrics_from_ranks
from model.training.ablate import Ablate
from model.training.child_commands import ChildCommands
from tests.end_to_end.test_training import SETTINGS, captions_moved_on, write_settings
from tests.worlds import write_world

TABLE = """
[[row]]
name = "whole"
title = "the whole"

[[row]]
name = "without"
title = "without it"
overrides = { "instance_level.enabled" = false }

[[row]]
name = "both"
title = "averaged"
ensemble = ["whole", "without"]
"""


@dataclass(frozen=True)
class Said:
    """What a command printed."""

    stdout: str
    stderr: str


class Tables:
    """Runs `ablate` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = write_world(folder / "data", image_count=36)
        self.settings = write_settings(folder / "tiny.toml", SETTINGS)
        (folder / "table.toml").write_text(TABLE)
        self.results = folder / "runs" / "results.jsonl"

    def arguments(self, *more: str) -> list[str]:
        places = {"table": "table.toml", "settings": "tiny.toml", "data": "data", "output": "runs"}
        given = [
            part
            for name, place in places.items()
            for part in (f"--{name}", str(self.folder / place))
        ]
        return [*given, "--cache-directory", str(self.folder / "cache"), *more]

    def run(self, *more: str, status: int = 0) -> Said:
        """Run the command in this process; the runs themselves are processes of their own."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            ended = run_command("ablate", Ablate, self.arguments(*more))
        assert ended == status, err.getvalue()
        return Said(out.getvalue(), err.getvalue())

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.results.read_text().splitlines()]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    tables = Tables(tmp_path_factory.mktemp("ablate"))
    arguments = tables.arguments("--seeds", "0,1", "--jobs", "2")
    ablate = [sys.executable, "-m", "model.training", "ablate", *arguments]
    done = subprocess.run(ablate, check=True, stderr=subprocess.PIPE, text=True)
    # Side by side, what the runs say goes to their logs; what they warn of is said once, here.
    assert "side by side; what each run says is in" in done.stderr
    assert done.stderr.count("images select the checkpoint") == 1
    return tables


def test_every_row_and_seed_is_trained_evaluated_and_written_down(tables: Tables) -> None:
    lines = tables.lines()
    assert sorted((line["row"], line["seed"]) for line in lines) == [
        (row, seed) for row in ("both", "whole", "without") for seed in (0, 1)
    ]
    for line in lines:
        ranks = np.load(tables.folder / "runs" / "results-ranks" / f"{line['key']}.npz")

        found = metrics_from_ranks(torch.from_numpy(ranks["text_to_image"].astype(np.int64)))
        assert found.recall_at_1 == line["test"]["text_to_image"]["recall_at_1"]
    steps = {line["row"]: line.get("steps_with_instance_level") for line in lines}
    assert steps == {"whole": 6, "without": 0, "both": None}


def test_the_table_has_means_spreads_and_intervals(tables: Tables) -> None:
    shown = tables.run("--seeds", "0,1", "--show", "--json")
    found = json.loads(shown.stdout)
    rsums = {row["name"]: row["rsum"] for row in found["rows"]}
    for name in rsums:
        of_row = [line["test"]["rsum"] for line in tables.lines() if line["row"] == name]
        assert rsums[name] == pytest.approx(np.mean(of_row))
    first, second, _ = found["rows"]
    assert first["difference"] is None
    assert second["difference"]["estimate"] == pytest.approx(rsums["without"] - rsums["whole"])
    assert second["difference"]["low"] <= second["difference"]["high"]
    quarters = first["by_rarity"]
    assert sum(quarter["query_count"] for quarter in quarters) == 30
    text = tables.run("--seeds", "0,1", "--show").stdout
    assert "the whole" in text and "averaged" in text
    dev = [line["dev_rsum"] for line in tables.lines() if line["row"] == "whole"]
    assert first["dev_rsum"] == pytest.approx(np.mean(dev))
    assert "dev rSum" in text and f" {np.mean(dev):.1f} " in text
    assert found["rows"][2]["name"] == "both" and found["rows"][2]["dev_rsum"] is None


def test_what_is_finished_is_not_run_again(tables: Tables) -> None:
    count = len(tables.lines())
    assert "6 runs, 6 finished" in tables.run("--seeds", "0,1").stderr
    assert len(tables.lines()) == count


@pytest.mark.parametrize("split", ["train", "dev", "test"])
@pytest.mark.parametrize("more", [(), ("--show",)])
def test_runs_on_other_captions_are_neither_skipped_nor_shown(
    tables: Tables, tmp_path: Path, split: str, more: tuple[str, ...]
) -> None:
    kept = tables.results.read_text()
    other = captions_moved_on(tables.data, tmp_path / "other", split=split)
    said = tables.run("--seeds", "0,1", "--data", str(other), *more, status=1)
    assert f"holds runs on other images or captions than those of {other} (whole-seed0-" in (
        said.stderr
    )
    assert "another --output" in said.stderr
    assert not said.stdout
    assert tables.results.read_text() == kept


def test_moved_data_are_the_same_data(tables: Tables, tmp_path: Path) -> None:
    shutil.copytree(tables.data, tmp_path / "moved")
    said = tables.run("--seeds", "0,1", "--data", str(tmp_path / "moved"))
    assert "6 runs, 6 finished" in said.stderr
    assert said.stdout == tables.run("--seeds", "0,1", "--show").stdout


def test_a_table_is_shown_without_data_but_not_with_data_that_are_not_there(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = tables.run("--seeds", "0,1", "--show", "--data", "/nowhere", status=1)
    assert "there is no folder /nowhere" in nowhere.stderr
    with_data = tables.run("--seeds", "0,1", "--show").stdout
    arguments = tables.arguments()
    place = arguments.index("--data")
    monkeypatch.setattr(tables, "arguments", lambda *more: [
        *arguments[:place], *arguments[place + 2 :], *more,
    ])  # fmt: skip
    assert tables.run("--seeds", "0,1", "--show").stdout == with_data


def test_another_split_evaluates_the_checkpoints_that_are_there(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "runs"
    shutil.copytree(tables.folder / "runs", output)
    rows = ("--seeds", "0", "--rows", "whole,without")
    given = (*rows, "--output", str(output), "--split", "dev")
    # The first folder is of an older version, which named it after the split and told no hashes.
    of_test, of_dev = (
        load_settings("ablate", Ablate, tables.arguments(*rows, "--split", split))._runs()
        for split in ("test", "dev")
    )
    assert [run.name for run in of_test] == [run.name for run in of_dev]
    assert not {run.key for run in of_test} & {run.key for run in of_dev}
    (output / of_dev[0].name).rename(output / of_dev[0].older_name)
    metrics = output / of_dev[0].older_name / "metrics.json"
    told = json.loads(metrics.read_text())
    metrics.write_text(json.dumps({name: told[name] for name in told if name != "data"}))

    called: list[list[str]] = []
    plain = ChildCommands.call

    def counting(self: ChildCommands, arguments: list[str], **more: Any) -> str:
        called.append(arguments[2:])
        return plain(self, arguments, **more)

    monkeypatch.setattr(ChildCommands, "call", counting)
    tables.run(*given)
    assert [arguments[:2] for arguments in called if arguments[0] == "train"] == [
        ["train", "--resume"]
    ]
    lines = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    for row in ("whole", "without"):
        one, other = (line for line in lines if (line["row"], line["seed"]) == (row, 0))
        assert "test" in one and "dev" in other
        assert one["dev_rsum"] == other["dev_rsum"] == pytest.approx(other["dev"]["rsum"])
        assert one["data"]["trained_on"] == other["data"]["trained_on"]
        assert other["data"]["reported_on"] == other["data"]["selected_on"]

    # A checkpoint on other captions is not evaluated for the table of a third split either.
    moved = captions_moved_on(tables.data, tmp_path / "moved", split="train")
    said = tables.run(*given[:-1], "train", "--data", str(moved), status=1).stderr
    assert "was trained on other images or captions than those of" in said


def test_a_run_killed_before_or_after_its_first_save_goes_on(tables: Tables) -> None:
    finished = tables.lines()
    killed = [line for line in finished if line["row"] == "whole"]
    tables.results.write_text(
        "".join(json.dumps(line) + "\n" for line in finished if line not in killed)
    )
    folders = sorted((tables.folder / "runs").glob("whole-seed*-*/"))
    assert len(folders) == 2
    (folders[0] / "training" / "state.json").unlink()  # killed before it saved anything
    tables.run("--seeds", "0,1", "--rows", "whole")
    again = [line for line in tables.lines() if line["row"] == "whole"]
    assert {line["key"]: line["test"] for line in again} == {
        line["key"]: line["test"] for line in killed
    }


def test_an_ablation_that_is_terminated_lets_its_runs_save_and_end(tables: Tables) -> None:
    output = tables.folder / "terminated"
    long = write_settings(
        tables.folder / "long.toml",
        SETTINGS | {"schedule": {"batch_size": 16, "steps": 5000, "save_every_steps": 1}},
    )
    more = ("--settings", str(long), "--output", str(output), "--seeds", "0,1", "--rows", "whole")
    process = subprocess.Popen(
        [sys.executable, "-m", "model.training", "ablate", *tables.arguments(*more, "--jobs", "2")],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 120
        while len(begun := list(output.glob("*/training/state.json"))) < 2:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        locks = [state.parent / "lock" for state in begun]
        holders = [json.loads(lock.read_text())["pid"] for lock in locks]
        process.terminate()
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert said.splitlines()[-1].startswith("stopped; the same `ablate` command goes on")
    assert len(holders) == 2
    for holder, lock in zip(holders, locks, strict=True):
        assert lock.read_text() == ""  # given back
        with pytest.raises(ProcessLookupError):
            os.kill(holder, 0)


def test_an_ensemble_whose_members_are_gone_is_told_and_stays_in_the_queue(tables: Tables) -> None:
    kept = tables.lines()
    tables.results.write_text(
        "".join(json.dumps(line) + "\n" for line in kept if line["row"] != "both")
    )
    moved = tables.folder / "runs-elsewhere"
    (tables.folder / "runs").rename(moved)
    (tables.folder / "runs").mkdir()
    try:
        (moved / "results.jsonl").rename(tables.results)
        done = tables.run("--seeds", "0,1", status=1)
        assert "trained elsewhere" in done.stderr
        assert "both" not in {line["row"] for line in tables.lines()}
    finally:
        tables.results.rename(moved / "results.jsonl")
        (tables.folder / "runs").rmdir()
        moved.rename(tables.folder / "runs")


def test_data_that_no_run_can_use_are_told_once_and_how_to_set_it_here(
    tables: Tables, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    few = write_settings(tmp_path / "few.toml", SETTINGS | {"dataset": {"dev_last_count": 999}})
    given = ("--settings", str(few), "--output", str(tmp_path / "runs"))
    said = tables.run(*given, status=1).stderr + capfd.readouterr().err
    assert said.count("dev_last_count = 999 leaves nothing") == 1
    assert "under [dataset]: --settings FILE" in said
    assert "ended with" not in said
    assert not (tmp_path / "runs").exists()


def test_after_a_run_failed_none_begins(
    tables: Tables, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rates = {"optimization": {"learning_rate": 1e38, "backbone_learning_rate": 1e38}}
    wild = write_settings(tmp_path / "wild.toml", SETTINGS | rates)
    tables.run("--settings", str(wild), "--output", str(tmp_path / "runs"), status=1)
    assert capfd.readouterr().err.count("not finite") == 1
    assert len(list((tmp_path / "runs").glob("*-seed*"))) == 1


def test_everything_that_is_missing_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("ablate", Ablate, []) == 2
    said = capsys.readouterr().err
    assert "recipe: give --recipe" in said and "data: give --data" in said


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--rows", "whole,wihtout"), "there is no row 'wihtout'"),
        (("--rows", "both,whole"), "both averages without"),
        (("--seeds", "0,x"), "seeds.1 = 'x'"),
    ],
)
def test_a_wrong_request_is_told(tables: Tables, more: tuple[str, ...], told: str) -> None:
    assert told in tables.run(*more, status=2).stderr


@pytest.mark.parametrize(
    ("splits", "told"),
    [(("train", "dev"), "no image is of split test; found dev, train"), (("",), "name no splits")],
)
def test_a_split_without_images_is_told_before_anything_is_trained(
    tables: Tables, tmp_path: Path, splits: tuple[str, ...], told: str
) -> None:
    data = write_world(tmp_path / "data", splits=splits)
    more = ("--data", str(data), "--output", str(tmp_path / "runs"))
    assert told in tables.run(*more, status=1).stderr
    assert not (tmp_path / "runs").exists()
