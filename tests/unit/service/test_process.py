"""The real command, in a process of its own, on loopback."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx
import pytest

from index_builder.index_folder.versions import OpenIndex
from model.command_line import run_command
from model.hrem import HREM
from service.config import ServiceConfig
from tests.worlds import tiny_checkpoint

REPOSITORY = Path(__file__).parents[3]
DEADLINE_S = 60


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HREM_")}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}


@contextmanager
def started(*command: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def lines_until(stream: IO[str] | None, start: str) -> list[str]:
    """What the process says up to the line that starts so, or up to its end."""
    assert stream is not None
    lines = []
    for line in stream:
        lines.append(line)
        if line.startswith(start):
            break
    return lines


def run_here(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """The same command without a process of its own; returns exit status and stderr."""
    status = run_command("python -m service", ServiceConfig, [str(one) for one in arguments])
    return status, capsys.readouterr().err


def test_it_serves_until_it_is_told_to_stop_and_ends_well(index_folder: Path) -> None:
    command = ("-m", "service", "--port", 0, "--json", "--index", index_folder, "--device", "cpu")
    with started(*command) as process:
        url = json.loads("".join(lines_until(process.stdout, "}")))["url"]
        assert httpx.get(f"{url}/health/ready").json() == {"status": "ready"}
        answer = httpx.post(f"{url}/search/text", json={"query": "a secret circle"})
        assert len(answer.json()["results"][0]["hits"]) == 10
        assert "server" not in answer.headers
        large = httpx.post(f"{url}/search/image", json={"image": {"base64": "A" * 11_000_000}})
        assert (large.status_code, large.json()["code"]) == (413, "body_too_large")
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert "Traceback" not in stderr
    assert stderr.endswith("stopped\n")
    logged = [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]
    assert ("/search/text", 200) in [(line["route"], line["status"]) for line in logged]
    assert "secret" not in stderr


def test_it_says_what_it_serves_imports_no_training_and_ends_well_with_ctrl_c(
    index_folder: Path,
) -> None:
    command = ("-X", "importtime", "-m", "service", "--port", 0, "--index", index_folder)
    with started(*command, "--no-log-requests") as process:
        lines = lines_until(process.stderr, "ready")
        httpx.get(f"{lines[-1].split()[1]}health/ready").raise_for_status()
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert "Traceback" not in rest
    assert "health/ready" not in rest
    imported = {line.split("|")[-1].strip() for line in lines if line.startswith("import time")}
    assert {"model.hrem", "service.app"} <= imported
    assert not [name for name in imported if name.startswith(("model.training", "tensorboard"))]
    told = "".join(line for line in lines if not line.startswith("import time"))
    for fact in ("version 1", "images      12", "captions    60", "HREM resnet", "cpu", "1.15"):
        assert fact in told
    assert "http://127.0.0.1:" in lines[-1]


def test_a_port_in_use_is_one_sentence(
    index_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, stderr = run_here(capsys, "--index", index_folder, "--port", port)
    assert status == 1
    assert stderr.startswith(f"error: port {port} on 127.0.0.1 is in use")
    assert stderr.count("\n") == 1


def test_an_unknown_host_is_one_sentence(
    index_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, stderr = run_here(capsys, "--index", index_folder, "--host", "no host", "--port", 0)
    assert status == 1
    assert stderr.startswith("error: --host no host")
    assert stderr.count("\n") == 1


def test_a_missing_index_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, stderr = run_here(capsys, "--index", tmp_path / "nothing", "--port", 0)
    assert status == 1
    assert "holds no index" in stderr
    assert stderr.count("\n") == 1


def test_a_missing_checkpoint_is_one_sentence(
    index_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = tmp_path / "nothing"
    status, stderr = run_here(capsys, "--index", index_folder, "--checkpoint", nothing, "--port", 0)
    assert status == 1
    assert str(nothing) in stderr
    assert stderr.count("\n") == 1


def test_a_checkpoint_that_did_not_make_the_index_is_refused_naming_both(
    index_folder: Path, opened: OpenIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny_checkpoint(tmp_path, seed=1)
    status, stderr = run_here(capsys, "--index", index_folder, "--checkpoint", other, "--port", 0)
    assert status == 1
    assert opened.checkpoint_fingerprint[:16] in stderr
    assert HREM.from_pretrained(other).fingerprint[:16] in stderr
    assert stderr.count("\n") == 1


def test_wrong_settings_are_told_all_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    status, stderr = run_here(capsys, "--port", 99999, "--decode-threads", 0, "--prot", 1)
    assert status == 2
    assert all(line.startswith("config error: ") for line in stderr.splitlines())
    for wrong in ("--prot", "port = ", "decode_threads = ", "index: required"):
        assert wrong in stderr
