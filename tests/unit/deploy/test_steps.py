"""Steps of the demo: made once, reused while whole, redone when anything behind them changed."""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.demo import Demo, check_port_is_free, demo_steps
from deploy.steps import DemoError, Step, code_digest, make_step
from model.command_line import run_command

# Writes its artefact and counts its runs in a file beside it.
WRITER = """
import pathlib, sys
folder = pathlib.Path(sys.argv[1])
folder.mkdir(exist_ok=True)
runs = folder.parent / "runs"
runs.write_text((runs.read_text() if runs.exists() else "") + "x")
(folder / "half").write_text("")
if len(sys.argv) > 2: sys.exit(int(sys.argv[2]))
(folder / "whole").write_text("")
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "code.py"
    path.write_text('"""A docstring."""\nANSWER = 42\n')
    return path


@pytest.fixture
def step(tmp_path: Path, code: Path) -> Step:
    output = tmp_path / "made" / "thing"
    return Step(
        summary="make a thing",
        output=output,
        artefact="whole",
        command=(sys.executable, "-c", WRITER, str(output)),
        sources=(code,),
    )


def run_count(step: Step) -> int:
    return len((step.output.parent / "runs").read_text())


def test_a_whole_artefact_is_reused(step: Step) -> None:
    assert not make_step(step).was_reused
    assert make_step(step).was_reused
    assert run_count(step) == 1


def test_a_comment_or_docstring_does_not_make_a_step_stale(step: Step, code: Path) -> None:
    make_step(step)
    code.write_text('"""Other words."""\n# a remark\nANSWER  =  42\n')
    assert step.is_done()


def test_changed_code_makes_a_step_and_those_after_it_stale(step: Step, code: Path) -> None:
    later = dataclasses.replace(step, output=step.output.with_name("later"), sources=(), after=step)
    before = later.key()
    make_step(step)
    code.write_text("ANSWER = 43\n")
    assert not step.is_done()
    assert later.key() != before


@pytest.mark.parametrize("lost", ["thing/whole", "thing.demo.json"])
def test_an_artefact_or_stamp_that_is_lost_is_not_taken_for_whole(step: Step, lost: str) -> None:
    make_step(step)
    (step.output.parent / lost).unlink()
    assert not step.is_done()


def test_what_a_failed_run_left_is_made_again(step: Step) -> None:
    failing = dataclasses.replace(step, command=(*step.command, "3"))
    with pytest.raises(DemoError, match="status 3"):
        make_step(failing)
    assert (step.output / "half").exists()
    assert not make_step(step).was_reused
    assert step.is_done()


def test_a_folder_that_the_demo_did_not_make_is_left_alone(step: Step) -> None:
    step.output.mkdir(parents=True)
    precious = step.output / "precious"
    precious.write_text("weeks of work")
    with pytest.raises(DemoError, match="not made by the demo"):
        make_step(step)
    assert precious.read_text() == "weeks of work"


def test_missing_code_is_named(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="gone is missing"):
        code_digest([tmp_path / "gone"])


def test_every_source_that_the_demo_watches_exists(tmp_path: Path) -> None:
    keys = {step.key() for step in demo_steps(tmp_path)}
    assert len(keys) == 3


def test_a_checkpoint_that_is_given_is_indexed_and_known_by_its_content(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    assert demo_steps(tmp_path, given) == demo_steps(tmp_path)  # nothing in it: one is trained
    for name in ("config.json", "model.safetensors"):
        (given / name).write_text("first")
    draw, index = demo_steps(tmp_path, given)
    assert str(given) in index.command
    assert index.after == draw
    first = index.key()
    assert first != demo_steps(tmp_path)[-1].key()
    (given / "model.safetensors").write_text("second")
    assert demo_steps(tmp_path, given)[-1].key() != first


def test_a_folder_that_is_no_checkpoint_is_told_with_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(DemoError, match=r"no checkpoint: model\.safetensors missing"):
        demo_steps(tmp_path, tmp_path)
    with pytest.raises(DemoError, match=r"config\.json and model\.safetensors missing"):
        demo_steps(tmp_path, tmp_path / "nowhere")


def test_a_port_in_use_is_told_before_anything_is_made(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DemoError, match=f"127.0.0.1:{port}"):
            check_port_is_free("127.0.0.1", port)
        ran = subprocess.run(
            [sys.executable, "-m", "deploy.demo", "--port", str(port), "--folder", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == 1
    assert f"make demo PORT={port + 1}" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not list(tmp_path.iterdir())


def test_ending_the_demo_ends_the_running_step(tmp_path: Path) -> None:
    """A training that nobody waits for any more would hold the machine for minutes."""
    mark = tmp_path / "running"
    child = f"import pathlib, time; pathlib.Path({str(mark)!r}).write_text(''); time.sleep(60)"
    parent = (
        "import signal, sys\n"
        "from deploy import demo, steps\n"
        "signal.signal(signal.SIGTERM, demo._stop)\n"
        f"steps._run((sys.executable, '-c', {child!r}))\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], start_new_session=True) as demo:
        deadline = time.monotonic() + 60
        while not mark.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        demo.terminate()
        assert demo.wait(timeout=30) == 128 + signal.SIGTERM
        with pytest.raises(ProcessLookupError):
            os.killpg(demo.pid, 0)


def test_json_is_for_a_demo_that_does_not_serve(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("demo", Demo, ["--json"]) == 2
    assert "give --no-serve with --json" in capsys.readouterr().err
