"""Rows, runs and their keys, the results file, the table."""

import subprocess
from pathlib import Path

import pytest

from model.command_line import load_settings
from model.errors import ConfigError
from model.training.ablate import Ablate
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
from model.training.train import Train

ROWS = read_rows(ABLATIONS)
ROOT = Path(__file__).parents[3]


def runs(rows: list[Row] = ROWS, seeds: tuple[int, ...] = (0, 1)) -> list[Run]:
    return runs_of(
        rows, seeds, common=["--recipe", "flickr8k-cpu"], backbone="b/mobilenet-v2", split="val"
    )


def test_runs_are_of_their_rows_and_every_first_seed_comes_first() -> None:
    found = runs()
    assert [run.seed for run in found] == sorted(run.seed for run in found)
    assert len({run.key for run in found}) == len(found) == 2 * len(ROWS)
    for run in found:
        if not run.members:
            settings = load_settings("train", Train, run.flags())
            assert settings.seed == run.seed and settings.recipe == "flickr8k-cpu"
        else:
            assert [m.row.name for m in run.members] == list(run.row.ensemble)
            assert [m.seed for m in run.members] == [run.seed, 1 - run.seed]


def test_a_wrong_setting_is_told_with_the_row_and_the_file_that_it_stands_in(
    tmp_path: Path,
) -> None:
    table, shared = tmp_path / "mine.toml", tmp_path / "shared.toml"
    table.write_text(
        '[[row]]\nname = "plain"\ntitle = "?"\n'
        '[[row]]\nname = "hot"\ntitle = "?"\noverrides = { "loss.temprature" = 0.2 }'
    )
    given = ["--recipe", "scenes", "--table", str(table)]
    with pytest.raises(ConfigError) as caught:
        load_settings("ablate", Ablate, given)._runs()
    (problem,) = caught.value.problems
    assert problem.startswith(f"table = '{table}', row 'hot': unrecognized arguments")
    assert "did you mean --loss.temperature?" in problem
    # What is wrong with the settings that all rows share is told once, and of no row.
    shared.write_text("seeed = 3\n")
    with pytest.raises(ConfigError) as caught:
        load_settings("ablate", Ablate, [*given, "--settings", str(shared)])._runs()
    first, second = caught.value.problems
    assert first.startswith("seeed: unknown setting") and "row 'hot'" in second
    # One that is overruled by --seeds would be without effect.
    shared.write_text("seed = 3\n")
    with pytest.raises(ConfigError) as caught:
        load_settings("ablate", Ablate, [*given, "--settings", str(shared)])._runs()
    assert "seed: `ablate` gives every run its seed; use --seeds" in str(caught.value)


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--dataset.dev-last-count", r"dev_last_count = \.\.\. under \[dataset\] into a TOML file"),
        ("--no-instance-level.enabled", r"write enabled = \.\.\. under \[instance_level\]"),
        ("--precision", r"write precision = \.\.\. into a TOML file and give it as --settings"),
        ("--steps", r"write steps = \.\.\. under \[schedule\]"),
        ("--seedz", "did you mean --seeds"),
        ("--seed", "did you mean --seeds"),
    ],
)
def test_a_flag_of_train_is_told_where_it_belongs(flag: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_settings("ablate", Ablate, ["--recipe", "scenes", flag, "50"])


def test_a_row_or_a_seed_that_is_named_twice_runs_once() -> None:
    given = ["--recipe", "scenes", "--rows", "fusion,without-s,fusion", "--seeds", "1,0,1"]
    found = load_settings("ablate", Ablate, given)._runs()
    assert [(run.row.name, run.seed) for run in found] == [
        ("fusion", 1), ("without-s", 1), ("fusion", 0), ("without-s", 0),
    ]  # fmt: skip


def test_an_ensemble_never_averages_a_run_with_itself() -> None:
    of_one_seed = {run.row.name: run for run in runs(seeds=(5,))}
    assert {member.seed for member in of_one_seed["full"].members} == {5}
    assert "two-fusions" not in of_one_seed
    pairs = [run.members for run in runs(seeds=(0, 1, 2)) if run.row.name == "two-fusions"]
    assert [{member.seed for member in pair} for pair in pairs] == [{0, 1}, {1, 2}, {2, 0}]


def test_a_run_is_another_one_when_what_it_computes_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def keys() -> tuple[str, str]:
        found = runs()
        assert found[0].name.endswith(found[0].training_key[:6])
        return found[0].key, next(run for run in found if run.members).key

    before = keys()
    monkeypatch.setenv("HREM_DATA", "somewhere/else")
    assert keys() == before
    monkeypatch.setenv("HREM_OPTIMIZATION__CLIP_NORM", "3.0")
    assert all(now != then for now, then in zip(keys(), before, strict=True))


def test_what_is_written_down_as_finished_is_still_in_the_table() -> None:
    lines = finished_lines(ROOT / "docs" / "experiments.jsonl")
    in_table = {(run.row.name, run.seed): run for run in runs(seeds=(0, 1, 2))}
    assert lines
    for key, line in lines.items():
        assert in_table[line["row"], line["seed"]].key == key


def test_a_torn_last_line_does_not_count_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    append_line(results, {"key": "one"})
    with results.open("a") as file:
        file.write('{"key": "tw')
    assert set(finished_lines(results)) == {"one"}
    append_line(results, {"key": "three"})
    assert set(finished_lines(results)) == {"one", "three"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[[row]]\nname = "a"\ntitle = "?"\noverides = {}', "overides"),
        ('[[row]]\nname = "a b"\ntitle = "?"', "name"),
        ('[[row]]\nname = "a"\ntitle = "?"\nensemble = ["a"]', "two rows or more"),
        ('[[row]]\nname = "a"\ntitle = "?"\nensemble = ["b", "c"]', "'b', which is no row"),
        ('[[row]]\nname = "a"\ntitle = "?"\n' * 2, "'a' stands there twice"),
        ('[[row]]\nname = "a"\ntitle = "?"\noverrides = { seed = 4 }', "use --seeds"),
        ('[[row]]\nname = "a"\ntitle = "?"\nlr = 1', "a row has name, title, overrides, ensemble"),
        ("rows = 3", r"it has no \[\[row\]\]"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str, told: str) -> None:
    table = tmp_path / "table.toml"
    table.write_text(text)
    with pytest.raises(ConfigError, match=told):
        read_rows(table)


def test_the_commit_is_marked_where_anything_but_the_results_differs(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        named = ("-c", "user.name=n", "-c", "user.email=n@example.org")
        subprocess.run(["git", *named, *arguments], cwd=tmp_path, check=True, capture_output=True)

    assert commit_of(tmp_path, besides=tmp_path / "results.jsonl") == "unknown"
    git("init")
    (tmp_path / "below").mkdir()
    results, code = tmp_path / "below" / "results.jsonl", tmp_path / "code.py"
    for path in (results, code):
        path.write_text("as committed")
    git("add", ".")
    git("commit", "-m", "both")
    clean = commit_of(tmp_path / "below", besides=results)
    assert len(clean) >= 12 and set(clean) <= set("0123456789abcdef")
    results.write_text("a line more")
    assert commit_of(tmp_path / "below", besides=results) == clean
    assert commit_of(tmp_path / "below", besides=code) == f"{clean}-dirty"
    assert commit_of(tmp_path / "below", besides=Path("/elsewhere.jsonl")) == f"{clean}-dirty"
    code.write_text("changed")
    assert commit_of(tmp_path / "below", besides=results) == f"{clean}-dirty"
    git("add", ".")
    assert commit_of(tmp_path / "below", besides=results) == f"{clean}-dirty"
