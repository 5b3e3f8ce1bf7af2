import json
from pathlib import Path

import pytest

from benchmarks.experiments import (
    QUEUE,
    Experiments,
    append_line,
    finished_keys,
    read_queue,
)
from model.command_line import load_settings, run_command
from model.training.train import Train
from tests.worlds import BACKBONES, IMAGE_SIDE, write_world


def test_the_shipped_queue_names_valid_runs_first_seeds_first() -> None:
    runs = read_queue(QUEUE)
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)
    assert len({run.key for run in runs}) == len(runs)
    for run in runs:
        settings = load_settings("train", Train, [*run.settings(), "--data", "somewhere"])
        assert settings.seed == run.seed
        enabled = run.experiment.overrides.get("instance_level.enabled", True)
        assert settings.instance_level.enabled == enabled


def test_what_is_written_down_as_finished_is_still_in_the_queue() -> None:
    results = QUEUE.parents[1] / "docs" / "experiments.jsonl"
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    for backbone in {line["backbone"] for line in lines}:
        keys = {(run.experiment.name, run.seed): run.key for run in read_queue(QUEUE, backbone)}
        for line in lines:
            if line["backbone"] == backbone:
                assert line["key"] == keys[line["experiment"], line["seed"]]


def test_a_run_is_another_one_when_what_it_computes_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = read_queue(QUEUE)[0]
    key = run.key
    assert read_queue(QUEUE)[0].key == key
    monkeypatch.setenv("HREM_DATA", "somewhere/else")
    assert run.key == key
    monkeypatch.setenv("HREM_OPTIMIZATION__CLIP_NORM", "3.0")
    assert run.key != key and run.name.startswith("flickr8k-cpu-seed0-")


def test_a_torn_last_line_does_not_count_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    append_line(results, {"key": "one"})
    with results.open("a") as file:
        file.write('{"key": "tw')
    assert finished_keys(results) == {"one"}
    append_line(results, {"key": "three"})
    assert finished_keys(results) == {"one", "three"}


def test_a_wrong_queue_is_refused(tmp_path: Path) -> None:
    queue = tmp_path / "queue.toml"
    queue.write_text('[[experiment]]\nname = "a"\nquestion = "?"\nreceipt = "scenes"\n')
    arguments = ["--queue", str(queue), "--data", str(tmp_path)]
    assert run_command("experiments", Experiments, arguments) == 2


def test_a_queue_runs_what_is_left_and_writes_one_line_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_world(tmp_path / "data")
    overrides = {
        "dataset.minimum_word_count": 1,
        "network.embedding_dim": 16,
        "network.head_count": 2,
        "network.backbone_architecture": BACKBONES["resnet"],
        "network.preprocessor.image_size": IMAGE_SIDE,
        "schedule.batch_size": 8,
        "schedule.steps": 2,
        "instance_level.enabled": False,
    }
    inline = ", ".join(
        f'"{name}" = {json.dumps(value).replace(": ", " = ")}' for name, value in overrides.items()
    )
    queue = tmp_path / "queue.toml"
    queue.write_text(
        '[[experiment]]\nname = "tiny"\nquestion = "Does it run?"\nsplit = "test"\n'
        f"overrides = {{ {inline} }}\nseeds = [0]\n"
    )
    results = tmp_path / "results.jsonl"
    arguments = ["--queue", str(queue), "--data", str(tmp_path / "data")]
    arguments += ["--results", str(results), "--runs", str(tmp_path / "runs")]
    arguments += ["--cache-directory", str(tmp_path / "cache")]
    assert run_command("experiments", Experiments, arguments) == 0
    (line,) = [json.loads(text) for text in results.read_text().splitlines()]
    assert line["experiment"] == "tiny" and line["steps"] == 2
    assert line["test"]["image_count"] == 2
    assert run_command("experiments", Experiments, arguments) == 0
    assert len(results.read_text().splitlines()) == 1
    assert "1 runs, 1 finished" in capsys.readouterr().err
    assert run_command("experiments", Experiments, [*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"finished_before": 1, "runs": []}
