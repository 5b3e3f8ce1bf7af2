"""The real command, in a process of its own, on loopback."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import httpx
import pytest

from index_builder.index_folder.versions import OpenIndex
from model.command_line import run_command
from model.hrem import HREM
from service.config import ServiceConfig
from tests.worlds import tiny_checkpoint

REPOSITORY = Path(__file__).parents[3]
DEADLINE_S = 60
MARKER = "zebra-confidential"
MARKER_IN_BASE64 = base64.b64encode(MARKER.encode() * 10).decode()
RELOADED = 'hrem_reloads_total{outcome="unchanged"} 1.0'


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HREM_")}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}


@contextmanager
def started(
    *command: object, program: Sequence[str] = (sys.executable,), stderr: IO[str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*program, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=stderr or subprocess.PIPE,
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


@dataclass(frozen=True)
class Run:
    """What became of a process that served and was stopped.

    Attributes:
        answers: To all that it was asked, by what for.
        began: What it said until it was ready.
        status: Its exit status.
        ended: What it said on stderr after that.
    """

    answers: dict[str, httpx.Response]
    began: list[str]
    status: int
    ended: str


@pytest.fixture(scope="module")
def terminated(index_folder: Path) -> Run:
    """A process that was asked this and that, most of it wrong, and stopped by SIGTERM."""
    command = ("-m", "service", "--port", 0, "--json", "--index", index_folder, "--device", "cpu")
    with started(*command) as process:
        began = lines_until(process.stdout, "}")
        url = json.loads("".join(began))["url"]
        with httpx.Client(base_url=url, timeout=DEADLINE_S) as client:
            search = partial(client.post, "/search/text")
            search_image = partial(client.post, "/search/image")
            answers = {
                "ready": client.get("/health/ready"),
                "search": search(json={"query": f"a {MARKER} zebra"}),
                "many queries": search(json={"query": [MARKER] * 40}),
                "field": search(json={MARKER: MARKER}),
                "no JSON": search(content=f'{{"query": "{MARKER}'.encode()),
                "parameter": client.post(f"/search/text?{MARKER}={MARKER}", json={"query": "red"}),
                "header": search(json={"query": "red"}, headers={"x-a": MARKER}),
                "surrogate": search(content=rb'{"query": "zebra \ud800"}'),
                "no picture": search_image(files={"file": (MARKER, MARKER.encode())}),
                "base64": search_image(json={"image": {"base64": MARKER_IN_BASE64}}),
                "large": search_image(json={"image": {"base64": "A" * 11_000_000}}),
                "id": search_image(json={"image": {"id": MARKER}}),
                "picture": client.get(f"/images/{MARKER}"),
                "item": client.get(f"/items/images/{MARKER}"),
                "page": client.get(f"/{MARKER}"),
                "request id": client.get("/info", headers={"x-request-id": f"{MARKER} {MARKER}"}),
            }
        with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1]))) as odd:
            odd.sendall(f"{MARKER}\r\n\r\n".encode())
            odd.recv(1000)
        process.send_signal(signal.SIGTERM)
        _, ended = process.communicate(timeout=DEADLINE_S)
    return Run(answers, began, process.returncode, ended)


def test_it_serves_until_it_is_told_to_stop_and_ends_well(terminated: Run) -> None:
    answers = terminated.answers
    assert answers["ready"].json() == {"status": "ready"}
    assert len(answers["search"].json()["results"][0]["hits"]) == 10
    assert "server" not in answers["search"].headers
    large = answers["large"]
    assert (large.status_code, large.json()["code"]) == (413, "body_too_large")
    assert terminated.status == 0
    assert "Traceback" not in terminated.ended
    assert terminated.ended.endswith("stopped\n")


def test_no_line_holds_what_was_asked_and_every_answer_is_found_by_its_id(terminated: Run) -> None:
    assert MARKER not in terminated.ended
    assert MARKER_IN_BASE64 not in terminated.ended
    # The service's own last word is for people: "stopped".
    lines = terminated.ended.removesuffix("stopped\n").splitlines()
    logged = [json.loads(line) for line in lines]
    assert {"time", "level", "logger", "message"} <= set(logged[0])
    by_id = {line["request_id"]: line for line in logged if "request_id" in line}
    for answer in terminated.answers.values():
        line = by_id[answer.headers["x-request-id"]]
        assert line["status"] == answer.status_code
        if answer.is_error:
            problem = answer.json()
            assert (line["request_id"], line["code"]) == (problem["request_id"], problem["code"])
    assert [line["code"] for line in logged if line["message"] == "refused connection"] == [
        "malformed_http"
    ]
    assert [line for line in logged if line["logger"].startswith("uvicorn")]


@pytest.fixture(scope="module")
def interrupted(index_folder: Path) -> Run:
    """A process that was told to reload as early as it can be, and was stopped by Ctrl-C."""
    command = ("-m", "service", "--port", 0, "--index", index_folder, "--no-log-requests")
    with started(*command) as process:
        wait_until_handled(process.pid, signal.SIGHUP)
        process.send_signal(signal.SIGHUP)
        began = lines_until(process.stderr, "ready")
        with httpx.Client(base_url=began[-1].split()[1], timeout=DEADLINE_S) as client:
            answers = {"ready": client.get("/health/ready"), "metrics": client.get("/metrics")}
            deadline = time.monotonic() + DEADLINE_S
            while RELOADED not in answers["metrics"].text and time.monotonic() < deadline:
                time.sleep(0.05)
                answers["metrics"] = client.get("/metrics")
        process.send_signal(signal.SIGINT)
        _, ended = process.communicate(timeout=DEADLINE_S)
    return Run(answers, began, process.returncode, ended)


def test_it_says_what_it_serves_and_ends_well_with_ctrl_c(interrupted: Run) -> None:
    told = "".join(interrupted.began)
    for fact in ("version 1", "images      12", "captions    60", "HREM resnet", "cpu", "1.15"):
        assert fact in told
    assert "http://127.0.0.1:" in interrupted.began[-1]
    assert interrupted.answers["ready"].status_code == 200
    assert interrupted.status == 0
    assert "Traceback" not in interrupted.ended
    assert "health/ready" not in interrupted.ended


def test_a_reload_asked_for_before_it_is_ready_is_done_when_it_is(interrupted: Run) -> None:
    assert RELOADED in interrupted.answers["metrics"].text


def test_what_an_operator_should_mend_is_told_at_the_start(index_folder: Path) -> None:
    command = ("-m", "service", "--port", 0, "--index", index_folder, "--host", "0.0.0.0")
    # Enough for a start, not for 1,000 connections.
    few_files = ("prlimit", "--nofile=600:600", sys.executable)
    with started(*command, program=few_files) as process:
        began = lines_until(process.stderr, "ready")
    told = "".join(began)
    address = began[-1].split()[1].removeprefix("http://").removesuffix("/")
    fact = f"open to everyone who reaches {address}; --keys FILE closes it"
    assert f"access      {fact}\n" in told
    logged = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    warnings = [line["message"] for line in logged if line["level"] == "warning"]
    assert warnings[0] == f"access is {fact}"
    assert "may open 600 files, and --max-connections 1000 may need 2256" in warnings[1]


def test_without_files_for_all_connections_the_oldest_make_way(index_folder: Path) -> None:
    command = ("-m", "service", "--port", 0, "--json", "--index", index_folder, "--device", "cpu")
    few_files = ("prlimit", "--nofile=100:100", sys.executable)
    with started(*command, program=few_files) as process:
        url = urlsplit(json.loads("".join(lines_until(process.stdout, "}")))["url"])
        with ExitStack() as idle:
            for _ in range(150):
                address = (url.hostname, url.port)
                idle.enter_context(socket.create_connection(address, timeout=DEADLINE_S))
            metrics = httpx.get(f"{url.geturl()}/metrics", timeout=DEADLINE_S).text
    found = re.search(r'hrem_connections_when_full_total\{outcome="made_way"\} (\d+)', metrics)
    assert found is not None and int(found[1]) > 100


def test_a_disk_that_is_full_of_logs_prevents_no_start_and_no_good_end(index_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ("-m", "service", "--port", port, "--index", index_folder)
    with Path("/dev/full").open("w") as full, started(*command, stderr=full) as process:
        wait_until_live(f"http://127.0.0.1:{port}", process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=DEADLINE_S) == 0


def wait_until_live(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            httpx.get(f"{url}/health/live").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"the service did not begin to answer; its exit status is {process.poll()}")


def wait_until_handled(process_id: int, wanted: signal.Signals) -> None:
    """Return when the process has a handler of its own for a signal."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        status = Path(f"/proc/{process_id}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) >> (wanted - 1) & 1:
            return
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_port_in_use_is_one_sentence(
    index_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, stderr = run_here(capsys, "--index", index_folder, "--port", port)
    assert status == 1
    assert stderr.startswith(f"error: port {port} on 127.0.0.1 is in use")
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("host", ["no host", "a..b", "a" * 64])
def test_an_unknown_host_is_one_sentence(
    index_folder: Path, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    status, stderr = run_here(capsys, "--index", index_folder, "--host", host, "--port", 0)
    assert status == 1
    assert stderr.startswith(f"error: --host {host}: ")
    assert stderr.count("\n") == 1


def test_a_missing_index_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, stderr = run_here(capsys, "--index", tmp_path / "nothing", "--port", 0)
    assert status == 1
    assert "holds no index" in stderr
    assert stderr.count("\n") == 1


def test_a_root_of_pictures_that_is_no_folder_is_one_sentence(
    index_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for root in (tmp_path / "nothing", index_folder / "current"):
        given = ("--index", index_folder, "--images-root", root, "--port", 0)
        status, stderr = run_here(capsys, *given)
        assert status == 1
        assert stderr.startswith(f"error: --images-root {root} is no folder; ")
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
