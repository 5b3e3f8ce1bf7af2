"""How the real command ends: by a fault that only the system sees, and at once."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.unit.service.test_process import DEADLINE_S, environment, lines_until, started


def test_a_file_of_the_served_index_that_is_cut_short_leaves_last_words(
    index_folder: Path, tmp_path: Path
) -> None:
    index = shutil.copytree(index_folder, tmp_path / "index")
    command = ("-m", "service", "--port", 0, "--json", "--index", index, "--device", "cpu")
    with started(*command) as process:
        url = json.loads("".join(lines_until(process.stdout, "}")))["url"]
        for mapped in (index / "galleries").glob("images-*/*"):
            os.truncate(mapped, 0)
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{url}/search/text", json={"query": "red"}, timeout=DEADLINE_S)
        _, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == -signal.SIGBUS
    assert "Fatal Python error: Bus error" in stderr


def test_who_is_still_uploading_when_the_time_to_stop_is_over_is_told(index_folder: Path) -> None:
    command = ("-m", "service", "--port", 0, "--json", "--index", index_folder, "--device", "cpu")
    with started(*command, "--shutdown-timeout-s", 1) as process:
        url = urlsplit(json.loads("".join(lines_until(process.stdout, "}")))["url"])
        with socket.create_connection((url.hostname, url.port), timeout=DEADLINE_S) as raw:
            raw.sendall(
                b"POST /search/text HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
                b"Content-Type: application/json\r\n\r\n{"
            )
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            heard = b""
            while piece := raw.recv(65_536):
                heard += piece
        _, stderr = process.communicate(timeout=DEADLINE_S)
    head, _, body = heard.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in head.lower()
    assert json.loads(body)["code"] == "overloaded"
    assert process.returncode == 0
    assert "CancelledError" not in stderr
    assert "cut off by the stop" in stderr


@pytest.mark.parametrize(("flag", "status"), [("--help", 0), ("--prot", 2)])
def test_nothing_is_taken_apart_when_it_ends(flag: str, status: int) -> None:
    script = (
        "import atexit, runpy, sys; atexit.register(print, 'taken apart'); "
        f"sys.argv = ['service', {flag!r}]; runpy.run_module('service', run_name='__main__')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=DEADLINE_S,
        check=False,
    )
    assert ended.returncode == status
    assert "taken apart" not in ended.stdout
    assert "--port" in ended.stdout + ended.stderr
