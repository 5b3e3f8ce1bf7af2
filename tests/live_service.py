"""A real service in a process of its own, on a free port of loopback, for tests that need one."""

import contextlib
import json
import select
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

__all__ = ["Service", "start_service", "stop_service"]

START_DEADLINE_S = 300
# Taking a process apart that has loaded torch takes seconds on a machine that is busy.
STOP_DEADLINE_S = 60


@dataclass
class Service:
    """A running service; `api` asks it directly, so that tests can compare."""

    url: str
    process: subprocess.Popen[str]
    log: Path
    api: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.api = httpx.Client(base_url=self.url, timeout=30)

    def search_text(self, query: str, **fields: Any) -> dict[str, Any]:
        answer = self.api.post("/search/text", json={"query": query, **fields})
        return answer.raise_for_status().json()

    def last_lines(self) -> str:
        return "".join(self.log.read_text().splitlines(keepends=True)[-8:])

    def search_file(self, picture: Path, **fields: Any) -> dict[str, Any]:
        answer = self.api.post(
            "/search/image",
            files={"file": (picture.name, picture.read_bytes())},
            data={"params": json.dumps(fields)},
        )
        return answer.raise_for_status().json()


def start_service(index: Path, log: Path, *arguments: object) -> Service:
    """Return a service of `index` on a free port, ready to answer within the deadline.

    Args:
        index: The index folder.
        log: Where its stderr goes.
        arguments: More of its command line, such as `"--keys", keys`.
    """
    command = ["-m", "service", "--index", index, "--port", 0, "--json", *arguments]
    with log.open("w") as lines:
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=lines,
            text=True,
        )
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_DEADLINE_S)
    line = process.stdout.readline() if ready else ""
    if not line:
        process.kill()
        pytest.fail(f"no service within {START_DEADLINE_S} s; its stderr:\n{log.read_text()}")
    text = line
    while True:
        with contextlib.suppress(json.JSONDecodeError):
            return Service(json.loads(text)["url"], process, log)
        text += process.stdout.readline()


def stop_service(service: Service) -> None:
    service.api.close()
    service.process.terminate()
    try:
        service.process.wait(timeout=STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        service.process.kill()
        raise
