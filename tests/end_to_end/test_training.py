"""Train, evaluate, stop and go on, through the real commands on a tiny world."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoBackbone, ResNetConfig

from model import peak_memory
from model.command_line import load_settings, run_commands
from model.hrem import HREM
from model.identifiers import image_id_for_path
from model.inputs.pictures import open_picture
from model.training import feature_cache
from model.training.batches import BatchMaker
from model.training.evaluate import Evaluate
from model.training.learner import Learner
from model.training.train import RECIPES, Train
from tests.tiny_parts import write_tiny_bert
from tests.worlds import BACKBONES, IMAGE_SIDE, captions_of, tiny_hrem, write_world

SETTINGS: dict[str, Any] = {
    "dataset": {"minimum_word_count": 1},
    "network": {
        "embedding_dim": 16,
        "head_count": 2,
        "word_dim": 8,
        "backbone_architecture": BACKBONES["resnet"],
        "preprocessor": {"image_size": IMAGE_SIDE, "resize": "squash"},
    },
    "schedule": {"batch_size": 16, "steps": 8, "evaluate_every": 4},
    "instance_level": {"head_count": 2},
}


def write_settings(path: Path, settings: dict[str, Any]) -> Path:
    lines: list[str] = []

    def write(prefix: str, section: dict[str, Any]) -> None:
        if prefix:
            lines.append(f"[{prefix}]")
        values = {key: value for key, value in section.items() if not isinstance(value, dict)}
        lines.extend(f"{key} = {json.dumps(value)}" for key, value in values.items())
        for key, value in section.items():
            if isinstance(value, dict):
                write(f"{prefix}.{key}" if prefix else key, value)

    write("", settings)
    path.write_text("\n".join(lines) + "\n")
    return path


def run(*arguments: object) -> int:
    commands = {"train": Train, "evaluate": Evaluate}
    return run_commands("python -m model.training", commands, [str(a) for a in arguments])


def captions_moved_on(data: Path, folder: Path, *, split: str) -> Path:
    """Return a copy of a data set where the captions of a split moved on by an image."""
    shutil.copytree(data, folder)
    path = folder / "captions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    of_split = [row for row in rows if row["split"] == split]
    captions = [row["captions"] for row in of_split]
    for row, moved in zip(of_split, [captions[-1], *captions[:-1]], strict=True):
        row["captions"] = moved
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


class World:
    """A tiny data set and the settings of a tiny run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = write_world(folder / "data", image_count=24)
        self.settings = write_settings(folder / "tiny.toml", SETTINGS)

    def arguments(self, name: str, *more: object) -> tuple[object, ...]:
        return (
            *("--config", self.settings, "--data", self.data, "--output", self.folder / name),
            *("--cache-directory", self.folder / "cache", *more),
        )

    def train(self, name: str, *more: object) -> Path:
        assert run("train", *self.arguments(name, *more)) == 0
        return self.folder / name


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def trained(world: World) -> Path:
    return world.train("trained")


def weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    return HREM.from_pretrained(checkpoint).state_dict()


def last_weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    (path,) = (checkpoint / "training").glob("step-*.safetensors")
    return load_file(path)


def are_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_a_run_writes_a_checkpoint_that_tells_what_it_is(trained: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["steps"] == 8
    assert metrics["steps_with_instance_level"] == 6
    assert metrics["dev"]["image_count"] == 4
    assert metrics["dev"]["rsum"] == max(look["dev"]["rsum"] for look in metrics["history"])
    card = (trained / "README.md").read_text()
    assert f"rSum {metrics['dev']['rsum']:.1f}" in card
    assert json.loads((trained / "training" / "settings.json").read_text())["seed"] == 0


def test_evaluate_prints_a_table_and_json(
    trained: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--checkpoint", trained, "--data", world.data, "--split", "test")
    assert run("evaluate", *given) == 0
    shown = capsys.readouterr().out
    assert "4 images · 20 captions" in shown
    assert run("evaluate", *given, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert f"rSum {report['rsum']:.1f}" in shown
    for direction in ("image_to_text", "text_to_image"):
        recalls = [report[direction][f"recall_at_{k}"] for k in (1, 5, 10)]
        assert recalls == sorted(recalls)


def test_where_no_split_is_called_dev_the_one_that_selected_is_named(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    captions = data / "captions.jsonl"
    captions.write_text(captions.read_text().replace('"split": "dev"', '"split": "val"'))
    output = tmp_path / "run"
    given = world.arguments("unused", "--schedule.steps", 1, "--data", data, "--output", output)
    assert run("train", *given) == 0
    asked = ("evaluate", "--checkpoint", output, "--data", data, "--split")
    assert run(*asked, "dev") == 1
    said = capsys.readouterr().err
    assert (
        "no image is of split dev; found test, train, val; the checkpoint was selected on" in said
    )
    assert "images of --split val" in said
    assert run(*asked, "vall") == 1
    assert "selected" not in capsys.readouterr().err


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    trained: Path, world: World
) -> None:
    assert are_equal(weights_of(trained), weights_of(world.train("again")))
    other = last_weights_of(world.train("seeded", "--seed", 1))
    assert not are_equal(last_weights_of(trained), other)


@pytest.mark.parametrize("workers", [0, 3])
def test_the_number_of_workers_never_changes_a_run(
    trained: Path, world: World, tmp_path: Path, workers: int
) -> None:
    output = tmp_path / "run"
    given = world.arguments("unused", "--workers", workers, "--output", output)
    assert run("train", *given) == 0
    assert are_equal(last_weights_of(output), last_weights_of(trained))
    # A run may go on with another number.
    assert run("train", "--resume", "--output", output, "--workers", 2) == 0
    assert 0 < json.loads((output / "metrics.json").read_text())["waiting_share"] < 1


@pytest.mark.parametrize("is_quick", [True, False])
def test_a_cpu_that_is_slow_in_bfloat16_is_told_once_at_the_start(
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    is_quick: bool,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": is_quick})
    told = "this cpu has no instructions for bfloat16: --precision float32 is several times faster"
    given = ("--schedule.steps", 1, "--no-instance-level.enabled", "--output", tmp_path / "run")
    assert run("train", *world.arguments("unused", *given, "--precision", "bfloat16")) == 0
    assert capsys.readouterr().err.count(told) == (not is_quick)
    # What a run has begun in it goes on in.
    assert run("train", "--resume", "--output", tmp_path / "run") == 0
    assert told not in capsys.readouterr().err


def test_a_run_that_waits_for_its_data_says_so(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    plain = BatchMaker.batch

    def slow(self: BatchMaker, pairs: Any) -> Any:
        time.sleep(0.02)
        return plain(self, pairs)

    monkeypatch.setattr(BatchMaker, "batch", slow)
    more = ("--schedule.steps", 53, "--schedule.evaluate-every", 53, "--workers", 0)
    given = world.arguments("unused", *more, "--no-instance-level.enabled")
    assert run("train", *given, "--output", tmp_path / "run") == 0
    said = capsys.readouterr().err
    assert said.count("is spent waiting for data; more --workers may help") == 1


def test_gradients_of_several_batches_make_one_step(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # 80 pairs, 5 batches a pass, 2 a step: 4 steps in 2 passes.
    more = ("--schedule.accumulate", 2, "--schedule.epochs", 2, "--schedule.evaluate-every", 2)
    settings = {k: v for k, v in SETTINGS["schedule"].items() if k == "batch_size"}
    config = write_settings(tmp_path / "epochs.toml", SETTINGS | {"schedule": settings})
    given = ("--config", config, "--output", tmp_path / "run")
    assert run("train", *world.arguments("unused", *more, *given)) == 0
    assert "5 steps of 2 x 16 pairs" in capsys.readouterr().err
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (metrics["steps"], [look["step"] for look in metrics["history"]]) == (5, [2, 4, 5])


def test_a_loss_that_is_no_number_ends_in_one_message(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    rates = ("--optimization.learning-rate", 1e38, "--optimization.backbone-learning-rate", 1e38)
    assert run("train", *world.arguments("unused", *rates, "--output", output)) == 1
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    failed = json.loads((output / "training" / "failed-batch.json").read_text())
    assert f"step {failed['step']}: " in said and "not finite" in said
    assert len(failed["pairs"]) == 16
    assert ", ".join(pair["pair"] for pair in failed["pairs"][:8]) in said
    captions = {}
    for row in map(json.loads, (world.data / "captions.jsonl").read_text().splitlines()):
        for number, caption in enumerate(row["captions"]):
            captions[f"{image_id_for_path(row['image'])}#{number}"] = caption
    assert all(captions[pair["pair"]] == pair["caption"] for pair in failed["pairs"])


def test_a_batch_that_does_not_fit_in_memory_is_named_and_the_state_kept(
    world: World, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    # 1,024 patches a picture: a layer of 32 pictures takes 67 MB, four times over.
    vit = BACKBONES["vit"] | {"intermediate_size": 512, "image_size": 256}
    network = SETTINGS["network"] | {"backbone_architecture": vit, "grid_size": 2}
    network |= {"preprocessor": {"image_size": 256, "resize": "squash"}}
    schedule = {"batch_size": 32, "steps": 3}
    config = write_settings(
        tmp_path / "large.toml", SETTINGS | {"network": network, "schedule": schedule}
    )
    given = world.arguments("unused", "--config", config, "--output", output)
    plain = Learner.take_step

    def stopping(self: Learner, step: int, batches: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return plain(self, step, batches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "take_step", stopping)
        assert run("train", *given) == 130
    # What is in use when everything is imported, and 150 MB.
    bounded = (
        "import resource, sys\n"
        "import torch.utils.tensorboard, transformers.models.vit.modeling_vit\n"
        "from model.training.train import Train\n"
        "from model.command_line import run_command\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "limit = pages * resource.getpagesize() + 150_000_000\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "sys.exit(run_command('train', Train))\n"
    )
    resumed = ["--resume", "--output", str(output)]
    ended = subprocess.run(
        [sys.executable, "-c", bounded, *resumed],
        env=os.environ | {"MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    (said,) = [line for line in ended.stderr.splitlines() if "error" in line]
    failed = json.loads((output / "training" / "failed-batch.json").read_text())
    assert failed["step"] == 2 and len(failed["pairs"]) == 32
    assert "step 2: memory of cpu ran out in the batch of " + failed["pairs"][0]["pair"] in said
    assert "the state after step 1 is kept: where more memory is free, go on with " in said
    assert f"--resume --output {output}" in said and "--schedule.accumulate" in said
    assert "Traceback" not in ended.stderr
    assert run("train", *resumed) == 0


def test_dropping_the_instance_level_changes_the_trained_weights(
    trained: Path, world: World
) -> None:
    without = world.train("without", "--no-instance-level.enabled")
    assert json.loads((without / "metrics.json").read_text())["steps_with_instance_level"] == 0
    last, last_without = last_weights_of(trained), last_weights_of(without)
    shared = [name for name in last_without if name.startswith("hrem.")]
    assert not any(name.startswith("objective.") for name in last_without)
    assert any(not torch.equal(last[name], last_without[name]) for name in shared)


def test_the_loss_falls(world: World) -> None:
    learnt = world.train(
        "learnt",
        *("--schedule.steps", 60, "--schedule.evaluate-every", 15),
        *("--optimization.learning-rate", 0.005, "--optimization.backbone-learning-rate", 0.005),
        *("--loss.opening-fraction", 1, "--no-instance-level.enabled"),
    )
    history = json.loads((learnt / "metrics.json").read_text())["history"]
    losses = [look["terms"]["total"] for look in history]
    assert losses[-1] < 0.7 * losses[0]


NEIGHBOURS = ("--sampling.kind", "neighbour", "--sampling.group-size", 4)
NEIGHBOURS = (*NEIGHBOURS, "--sampling.mean-cluster-size", 4)


@pytest.mark.parametrize(
    ("name", "settings", "stop_after"),
    [
        ("plain", (), 3),
        # The second pass begins with step 5 and is of groups that the network found.
        ("neighbours", NEIGHBOURS, 7),
        ("bfloat16", ("--precision", "bfloat16", "--instance-level.mechanism", "standalone"), 5),
    ],
)
def test_a_run_that_stopped_goes_on_to_the_same_weights(
    world: World, name: str, settings: tuple[object, ...], stop_after: int
) -> None:
    whole = last_weights_of(world.train(f"whole-{name}", *settings))
    assert ("sampler.clusters" in whole) == (name == "neighbours")
    stopped = world.folder / f"stopped-{name}"
    seen = 0
    plain = Learner.take_step

    def stopping(self: Learner, step: int, batch: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == stop_after:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, step, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "take_step", stopping)
        assert run("train", *world.arguments(stopped.name, *settings)) == 130
    state = json.loads((stopped / "training" / "state.json").read_text())
    assert state["position"]["step"] == stop_after
    resumed = ("--resume", "--output", stopped)
    assert run("train", *resumed) == 0
    assert are_equal(last_weights_of(stopped), whole)
    assert json.loads((stopped / "metrics.json").read_text())["steps_with_instance_level"] == 6


def test_ctrl_c_saves_and_says_how_to_go_on(world: World) -> None:
    command = [sys.executable, "-m", "model.training", "train"]
    arguments = world.arguments("long", "--schedule.steps", 5000, "--schedule.evaluate-every", 5)
    process = subprocess.Popen(
        [*command, *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        state = world.folder / "long" / "training" / "state.json"
        deadline = time.monotonic() + 120
        while not state.is_file() and process.poll() is None:
            assert time.monotonic() < deadline, "the run saved nothing in two minutes"
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert f"--resume --output {world.folder / 'long'}" in said
    assert "Traceback" not in said


def test_a_resumed_run_keeps_its_settings(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--resume", "--output", trained, "--seed", 5, "--schedule.steps", 50)
    assert run("train", *given) == 2
    said = capsys.readouterr().err
    assert "seed: a resumed run keeps its settings" in said
    assert "schedule.steps: a resumed run keeps its settings" in said


def test_a_resumed_run_that_is_given_another_recipe_is_told_of_what_was_given(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--resume", "--output", trained, "--recipe", "flickr8k-cpu", "--seed", 5)
    assert run("train", *given) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1] for line in said if "keeps its settings" in line] == [
        " recipe",
        " seed",
    ]


def test_how_often_a_resumed_run_saves_may_change(trained: Path, tmp_path: Path) -> None:
    run_folder = tmp_path / "run"
    shutil.copytree(trained, run_folder)
    assert run("train", "--resume", "--output", run_folder, "--schedule.save-every-steps", 1) == 0


@pytest.mark.parametrize("more", [(), ("--optimization.weight-average-decay", 0.9)])
def test_going_on_writes_the_checkpoint_that_a_kill_left_unwritten(
    world: World, tmp_path: Path, more: tuple[object, ...]
) -> None:
    # One look at the dev images, at the end: the state is saved, the checkpoint comes after it.
    output = tmp_path / "run"
    steps = ("--schedule.steps", 3, "--schedule.evaluate-every", 3)
    assert run("train", *world.arguments("unused", *steps, *more, "--output", output)) == 0
    written = (output / "model.safetensors").read_bytes()
    (output / "model.safetensors").unlink()
    assert run("train", "--resume", "--output", output) == 0
    assert (output / "model.safetensors").read_bytes() == written


def test_a_run_stopped_while_it_read_the_pictures_begins_when_it_is_resumed(
    trained: Path, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, cache = tmp_path / "run", tmp_path / "cache"

    def stopping(path: Path) -> Any:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_cache, "open_picture", stopping)
        given = world.arguments("unused", "--output", output, "--cache-directory", cache)
        assert run("train", *given) == 130
    assert f"train --resume --output {output}" in capsys.readouterr().err
    assert run("train", "--resume", "--output", output) == 0
    assert "beginning with its first step" in capsys.readouterr().err
    assert are_equal(last_weights_of(output), last_weights_of(trained))


def test_a_run_killed_before_its_first_save_begins_with_its_first_step(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    (output / "training").mkdir(parents=True)
    shutil.copy(trained / "training" / "settings.json", output / "training")
    assert run("train", "--resume", "--output", output) == 0
    assert "beginning with its first step" in capsys.readouterr().err
    assert are_equal(last_weights_of(output), last_weights_of(trained))


@pytest.mark.parametrize("name", ["settings.json", "state.json", "step-*.safetensors"])
def test_a_run_does_not_go_on_from_a_damaged_file(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    run_folder = tmp_path / "run"
    shutil.copytree(trained, run_folder)
    (path,) = (run_folder / "training").glob(name)
    path.write_bytes(path.read_bytes()[:100])
    assert run("train", "--resume", "--output", run_folder) == 1
    assert "is damaged" in capsys.readouterr().err


def test_a_run_does_not_go_on_with_a_setting_that_is_gone(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run" / "training" / "settings.json"
    path.parent.mkdir(parents=True)
    settings = json.loads((trained / "training" / "settings.json").read_text())
    path.write_text(json.dumps(settings | {"momentum": 0.9}))
    assert run("train", "--resume", "--output", tmp_path / "run") == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert "written by another version (momentum: " in said


@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_run_does_not_go_on_with_other_captions(
    trained: Path,
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    split: str,
) -> None:
    data = captions_moved_on(world.data, tmp_path / "data", split=split)
    run_folder = tmp_path / "run"
    shutil.copytree(trained, run_folder)
    resumed = ("train", "--resume", "--output", run_folder, "--data", data)
    with monkeypatch.context() as patch:
        patch.setattr(Train, "_network", None)  # refused before anything is made
        assert run(*resumed) == 1
    assert "began with other images or captions than these" in capsys.readouterr().err
    # A run of a version that wrote no images: the words are the same, so it goes on.
    (run_folder / "training" / "images.json").unlink()
    assert run(*resumed) == 0


def test_a_run_does_not_go_on_with_fewer_images_or_other_words(
    trained: Path, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run_folder = tmp_path / "data", tmp_path / "run"
    shutil.copytree(world.data, data)
    shutil.copytree(trained, run_folder)
    captions = data / "captions.jsonl"
    rows = captions.read_text().splitlines(keepends=True)
    assert '"train"' in rows[0]
    captions.write_text("".join(rows[1:]))
    resumed = ("train", "--resume", "--output", run_folder, "--data", data)
    assert run(*resumed) == 1
    assert "began with other images or captions than these" in capsys.readouterr().err
    captions.write_text("".join(rows).replace("red", "crimson or red"))
    (run_folder / "training" / "images.json").unlink()
    assert run(*resumed) == 1
    assert "put back the captions that it began with" in capsys.readouterr().err


def test_a_run_goes_on_where_its_data_were_moved_and_with_shuffled_captions(
    world: World, tmp_path: Path
) -> None:
    shutil.copytree(world.data, tmp_path / "moved")
    output = tmp_path / "run"
    more = ("--dataset.shuffle-captions", "--schedule.steps", 2, "--output", output)
    for settings in (more, more[1:]):
        shutil.rmtree(output, ignore_errors=True)
        assert run("train", *world.arguments("unused", *settings)) == 0
        assert run("train", "--resume", "--output", output, "--data", tmp_path / "moved") == 0


def test_a_run_does_not_go_on_with_another_frozen_backbone(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network_settings = dict(SETTINGS["network"])
    del network_settings["backbone_architecture"]
    settings = write_settings(tmp_path / "frozen.toml", SETTINGS | {"network": network_settings})
    backbones = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = AutoBackbone.from_config(ResNetConfig(**BACKBONES["resnet"]))
        network.save_pretrained(tmp_path / f"backbone-{seed}")
        backbones.append(tmp_path / f"backbone-{seed}")
    output = tmp_path / "run"
    given = world.arguments("unused", "--config", settings, "--output", output)
    assert run("train", *given, "--backbone", backbones[0]) == 0
    assert run("train", "--resume", "--output", output, "--backbone", backbones[0]) == 0
    assert run("train", "--resume", "--output", output, "--backbone", backbones[1]) == 1
    assert "began with another backbone" in capsys.readouterr().err


def test_a_used_output_is_never_overwritten(
    trained: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", *world.arguments("trained")) == 1
    assert "already holds a run" in capsys.readouterr().err


def test_resuming_a_finished_run_changes_nothing_in_its_figures(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_folder = tmp_path / "run"
    shutil.copytree(trained, run_folder)
    status = tmp_path / "status"
    status.write_text("VmHWM:\t       7 kB\n")
    monkeypatch.setattr(peak_memory, "_STATUS", status)
    assert run("train", "--resume", "--output", run_folder) == 0
    assert (run_folder / "metrics.json").read_text() == (trained / "metrics.json").read_text()


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        ("flickr8k-cpu", "google/mobilenet_v2"),
        ("f30k-bigru", "facebook/dinov2-small, for instance; the recipe's own data are region"),
        ("coco-bert", "facebook/dinov2-small, for instance; the recipe's own data are region"),
    ],
)
def test_a_recipe_for_a_pretrained_backbone_is_refused_without_one(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], recipe: str, named: str
) -> None:
    # flickr8k-cpu would select on the last 500 of 16 images: what is told first takes a download.
    given = ("--data", world.data, "--output", tmp_path / "run")
    assert run("train", "--recipe", recipe, *given) == 2
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert f"over pictures recipe {recipe} needs a pretrained one; give --backbone FOLDER" in said
    assert named in said
    assert not (tmp_path / "run").exists()


def test_what_is_next_is_told_after_the_last_step_alone(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    plain = Learner.take_step

    def stopping(self: Learner, step: int, batches: Any) -> Any:
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, step, batches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "take_step", stopping)
        assert run("train", *world.arguments("unused", "--output", output)) == 130
    said = capsys.readouterr().err
    assert f"wrote  {output}" in said and "next: " not in said
    assert said.splitlines()[-1].startswith("stopped after step 5 of 8; go on with: ")
    assert run("train", "--resume", "--output", output) == 0
    *_, evaluate, build = capsys.readouterr().err.splitlines()
    evaluates = "next: python -m model.training evaluate"
    assert evaluate == f"{evaluates} --checkpoint {output} --data {world.data}"
    assert build.split()[:4] == ["python", "-m", "index_builder", "build"]


def test_the_help_of_train_names_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--help") == 0
    shown = capsys.readouterr().out
    assert all(f"{path.stem}" in shown for path in RECIPES.glob("*.toml"))
    assert "coco-bert, coco-bigru" in " ".join(shown.split())


def test_two_processes_never_train_into_one_folder(
    trained: Path, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    plain = Learner.take_step
    told: list[str] = []

    def meanwhile(self: Learner, step: int, batches: Any) -> Any:
        if step == 5:  # saved once, after step 4: there is a run to go on with
            new = world.arguments("unused", "--output", output)
            for second in (("--resume", "--output", output), new):
                capsys.readouterr()
                told.append(f"{run('train', *second)} {capsys.readouterr().err.splitlines()[-1]}")
        return plain(self, step, batches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "take_step", meanwhile)
        assert run("train", *world.arguments("unused", "--output", output)) == 0
    assert len(told) == 2
    for line in told:
        assert line.startswith(f"1 error: '{output}' is being trained by process {os.getpid()} ")
        assert line.endswith("; wait for it or stop it")
    assert are_equal(last_weights_of(output), last_weights_of(trained))


def test_averaged_weights_are_what_is_saved(world: World) -> None:
    averaged = world.train("averaged", "--optimization.weight-average-decay", 0.9)
    saved, last = weights_of(averaged), last_weights_of(averaged)
    metrics = json.loads((averaged / "metrics.json").read_text())
    if metrics["best_step"] == metrics["steps"]:
        assert not torch.equal(
            saved["text_encoder.words.embedding.weight"],
            last["hrem.text_encoder.words.embedding.weight"],
        )


@pytest.mark.parametrize("kind", ["convnext", "swin", "vit", "mobilenet_v2"])
@pytest.mark.parametrize("is_trained", [True, False])
def test_any_backbone_trains_saves_loads_and_encodes_the_same(
    world: World, tmp_path: Path, kind: str, is_trained: bool
) -> None:
    settings = SETTINGS | {
        "network": SETTINGS["network"]
        | {"backbone_architecture": BACKBONES[kind], "train_backbone": is_trained},
        "schedule": {"batch_size": 8, "steps": 1},
        "instance_level": {"head_count": 2, "warmup_steps": 0},
    }
    config = write_settings(tmp_path / "settings.toml", settings)
    output = tmp_path / "run"
    given = ("--config", config, "--data", world.data, "--output", output)
    assert run("train", *given, "--cache-directory", tmp_path / "cache") == 0
    first, second = HREM.from_pretrained(output), HREM.from_pretrained(output)
    assert first.fingerprint == second.fingerprint
    trained = last_weights_of(output)
    pictures = [open_picture(path) for path in sorted((world.data / "images").glob("*.png"))[:3]]
    embeddings = first.encode_images(pictures)
    assert torch.equal(embeddings, second.encode_images(pictures))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3))
    assert all(torch.equal(t, trained[f"hrem.{n}"]) for n, t in first.state_dict().items())


def test_a_bert_trains_at_its_own_rate_from_its_own_weights(world: World, tmp_path: Path) -> None:
    words = sorted(
        {word for number in range(24) for c in captions_of(number) for word in c.split()}
    )
    folder = tmp_path / "bert"
    bert = write_tiny_bert(folder, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])
    network = SETTINGS["network"] | {"text": "bert", "text_encoder": str(folder)}
    settings = SETTINGS | {"network": network, "schedule": {"batch_size": 8, "steps": 1}}
    config = write_settings(
        tmp_path / "bert.toml", settings | {"instance_level": {"enabled": False}}
    )
    given = ("--config", config, "--data", world.data, "--cache-directory", tmp_path / "cache")
    weights = {}
    for name, rate in (("still", 1e-12), ("moved", 1e-2)):
        output = tmp_path / name
        rated = ("--optimization.bert-learning-rate", rate, "--output", output)
        assert run("train", *given, *rated) == 0
        weights[name] = weights_of(output)
        assert HREM.from_pretrained(output).encode_captions(captions_of(0)).shape == (5, 16)
    place = "encoder.layer.0.output.dense.weight"
    before = bert.state_dict()[place]
    torch.testing.assert_close(weights["still"][f"text_encoder.words.bert.{place}"], before)
    assert not torch.allclose(weights["moved"][f"text_encoder.words.bert.{place}"], before)


def test_a_run_goes_on_from_what_a_checkpoint_has_learnt(
    world: World, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {name: value for name, value in SETTINGS.items() if name != "network"}
    settings["optimization"] = {"learning_rate": 1e-12, "backbone_learning_rate": 1e-12}
    file = write_settings(tmp_path / "begin.toml", settings)
    arguments: list[object] = ["train", "--data", world.data, "--begin-from", trained]
    arguments += ["--cache-directory", tmp_path / "cache", "--config", file]
    assert run(*arguments, "--output", tmp_path / "refused", "--network.embedding-dim", 32) == 2
    told = capsys.readouterr().err
    assert "network.embedding_dim: the checkpoint of --begin-from decides it" in told
    assert run(*arguments, "--output", tmp_path / "begun") == 0
    # With a rate of nothing, what it has learnt stays; batch norms may settle further.
    begun, before = weights_of(tmp_path / "begun"), weights_of(trained)
    assert begun.keys() == before.keys()
    for name in (name for name in before if "running" not in name and "num_batches" not in name):
        assert torch.allclose(begun[name].float(), before[name].float(), atol=1e-6), name
    # What the first run learnt from counts for the second one too.
    other = write_world(tmp_path / "other", image_count=6)
    more: tuple[object, ...] = ("--begin-from", tmp_path / "begun", "--data", other)
    assert run(*arguments[:1], *arguments[5:], *more, "--output", tmp_path / "third") == 0
    assert run("evaluate", "--checkpoint", tmp_path / "third", "--data", world.data, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["images_trained_on"], report["images_selected_on"]) == (0, 0)
    asked = ("--checkpoint", tmp_path / "third", "--data", world.data, "--split", "train")
    assert run("evaluate", *asked) == 0
    assert "16 of 16 images were trained on" in capsys.readouterr().out
    # It goes on with its own images, though they are not all that count.
    resumed = ("train", "--resume", "--output", tmp_path / "third", "--data")
    assert run(*resumed, other) == 0
    for split in ("train", "dev"):
        moved = write_world(tmp_path / split, image_count=12)
        if split == "train":
            moved = captions_moved_on(other, tmp_path / "moved", split=split)
        assert run(*resumed, moved) == 1
        assert "began with other images or captions" in capsys.readouterr().err


def test_your_own_pictures_train_without_a_recipe(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (world.data / "captions.jsonl").read_text().splitlines()
    plain = [{k: v for k, v in json.loads(line).items() if k != "split"} for line in lines]
    captions = tmp_path / "captions.jsonl"
    captions.write_text("".join(json.dumps(row) + "\n" for row in plain))
    backbone = tiny_hrem().backbone
    assert backbone is not None
    backbone.network.save_pretrained(tmp_path / "backbone")
    made_for = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2], "crop_size": 96}
    (tmp_path / "backbone" / "preprocessor_config.json").write_text(json.dumps(made_for))
    output = tmp_path / "run"
    settings = write_settings(
        tmp_path / "small.toml",
        {
            "dataset": {"minimum_word_count": 1},
            "network": {
                "embedding_dim": 16,
                "head_count": 2,
                "preprocessor": {"image_size": IMAGE_SIDE},
            },
            "schedule": {"batch_size": 8, "steps": 2},
            "instance_level": {"enabled": False},
        },
    )
    given = ("--images", world.data / "images", "--captions", captions, "--output", output)
    backbone_given = ("--backbone", tmp_path / "backbone", "--config", settings)
    assert run("train", *given, *backbone_given, "--cache-directory", tmp_path / "cache") == 0
    loaded = HREM.from_pretrained(output)
    assert loaded.backbone is not None
    for name, weight in backbone.network.state_dict().items():
        assert torch.equal(loaded.backbone.network.state_dict()[name], weight)
    assert loaded.encode_captions(captions_of(0)).shape == (5, 16)
    # One changed setting leaves the others as the backbone was made for.
    preprocessor = loaded.config.preprocessor
    assert preprocessor is not None
    assert (preprocessor.image_size, preprocessor.mean) == (IMAGE_SIDE, (0.5, 0.4, 0.3))

    said = capsys.readouterr().err
    assert "warning: only 2 images select the checkpoint" in said
    assert "give a larger --dataset.dev-fraction than 0.1" in said
    asked = ("evaluate", "--checkpoint", output, *given[:4])
    flags = " ".join(map(str, asked))
    assert f"next: python -m model.training {flags} --split dev\n" in said
    assert run(*asked) == 1
    assert "name no splits; give --split all, or add a field `split`" in capsys.readouterr().err
    assert run(*asked, "--split", "dev") == 0
    assert "0 of 2 images were trained on, 2 selected the checkpoint" in capsys.readouterr().out
    page = tmp_path / "all.html"
    assert run(*asked, "--split", "all", "--report", page) == 0
    told = "22 of 24 images were trained on, 2 selected the checkpoint"
    assert told in capsys.readouterr().out and f"{told}." in page.read_text()
    # Of a checkpoint without its run nobody knows.
    (output / "training" / "images.json").unlink()
    assert run(*asked, "--split", "all") == 0
    assert "trained on" not in capsys.readouterr().out
    assert run(*asked, "--split", "dev") == 1
    assert "name no splits" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "fraction"),
    [
        ((), 0.45),
        (("--backbone", "somewhere"), 0),
        (("--backbone", "somewhere", "--loss.opening-fraction", "0.1"), 0.1),
        (("--loss.opening-fraction", "0"), 0),
    ],
)
def test_without_a_pretrained_backbone_a_run_opens_with_all_violations(
    given: tuple[str, ...], fraction: float
) -> None:
    settings = load_settings("train", Train, ["--data", "somewhere", *given])
    assert settings.opening_fraction(reads_regions=False) == fraction


def test_region_features_are_trained_already_so_a_run_does_not_open() -> None:
    settings = load_settings("train", Train, ["--data", "somewhere"])
    assert settings.opening_fraction(reads_regions=True) == 0


@pytest.mark.parametrize("recipe", sorted(path.stem for path in RECIPES.glob("*.toml")))
def test_every_recipe_is_valid_and_says_how_to_run_it(recipe: str, tmp_path: Path) -> None:
    settings = load_settings("train", Train, ["--recipe", recipe, "--data", str(tmp_path)])
    assert settings.schedule.batch_size >= 2
    opening = (RECIPES / f"{recipe}.toml").read_text().split("\n\n[")[0]
    assert f"python -m model.training train --recipe {recipe}" in opening


@pytest.mark.parametrize("text", ["bert", "bigru"])
@pytest.mark.parametrize(
    ("data", "batch_size", "cutoff", "relevance_weight"),
    [("f30k", 128, 1.7, 1.0), ("coco", 256, 1.9, 1.5)],
)
def test_the_recipes_of_the_paper_hold_the_authors_settings(
    data: str, text: str, batch_size: int, cutoff: float, relevance_weight: float
) -> None:
    settings = load_settings("train", Train, ["--recipe", f"{data}-{text}", "--data", "somewhere"])
    network, rates = settings.network, settings.optimization
    assert (network.text, network.embedding_dim, network.head_count) == (text, 1024, 16)
    assert network.text_encoder == ("bert-base-uncased" if text == "bert" else None)
    assert (settings.schedule.batch_size, settings.schedule.epochs) == (batch_size, 30)
    assert (settings.loss.cutoff, settings.loss.margin) == (cutoff, 0.2)
    assert settings.loss.kind == "distance_weighted"
    assert settings.opening_fraction(reads_regions=True) == 0
    level = settings.instance_level
    assert (level.mechanism, level.relevance_weight) == ("fusion", relevance_weight)
    assert (level.warmup_fraction, level.regulariser_weight, level.top_k) == (0.24, 10, 10)
    assert (rates.learning_rate, rates.bert_learning_rate, rates.weight_decay) == (5e-4, 5e-5, 1e-4)
    assert (rates.course, rates.decay_factor, rates.clip_norm) == ("steps", 0.1, 2.0)
    assert [round(30 * fraction) for fraction in rates.decay_fractions] == [15, 25]
    assert (settings.augmentation.region_drop, settings.augmentation.word_change) == (0.2, 0.2)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--dataset.min-count", "3"), 2, "min-count"),
        (("--recipe", "nothing"), 2, "there is no such recipe; there are: coco-bert"),
        (("--instance-level.warmup-steps", "8"), 2, "would never start"),
        (("--schedule.steps", "0", "--seed", "-1"), 2, "schedule.steps"),
        (("--data", "/nowhere"), 1, "there is no folder /nowhere"),
        (("--dataset.train-splits", '["trian"]'), 1, "no image is of split trian"),
        (("--images", "/nowhere"), 2, "give --data FOLDER"),
        (("--device", "abacus"), 2, "device = 'abacus'"),
        (("--dataset.minimum-word-count", "999"), 1, "no word is seen 999 times"),
    ],
)
def test_wrong_settings_are_told_before_anything_runs(
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    status: int,
    said: str,
) -> None:
    output = tmp_path / "run"
    given = world.arguments("unused", *arguments, "--output", output)
    assert run("train", *given) == status
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert not output.exists()


def test_an_unknown_option_in_a_file_is_named(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "wrong.toml"
    config.write_text("[schedule]\nepoch = 3\n[optimization]\nlearning_rate = 0\n")
    assert run("train", "--config", config, "--data", world.data) == 2
    said = capsys.readouterr().err
    assert "schedule.epoch: unknown setting; did you mean 'schedule.epochs'?" in said
    assert "optimization.learning_rate" in said


def test_a_damaged_picture_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_world(tmp_path / "data")
    (data / "images" / "picture-02.png").write_text("this is text")
    config = write_settings(tmp_path / "tiny.toml", SETTINGS)
    given = ("--config", config, "--data", data, "--output", tmp_path / "run")
    assert run("train", *given, "--cache-directory", tmp_path / "cache") == 1
    assert "picture-02.png" in capsys.readouterr().err
