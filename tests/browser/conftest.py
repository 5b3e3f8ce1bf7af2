"""A real index, a real service on loopback, a real Chromium: made once for all tests here."""

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page

from index_builder.build import build_index
from tests.browser.chromium import TIMEOUT_MS, Watched, open_chromium
from tests.worlds import tiny_checkpoint, write_world

START_DEADLINE_S = 120
IMAGE_COUNT = 30  # more than the page shows at once


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

    def search_file(self, picture: Path, **fields: Any) -> dict[str, Any]:
        answer = self.api.post(
            "/search/image",
            files={"file": (picture.name, picture.read_bytes())},
            data={"params": json.dumps(fields)},
        )
        return answer.raise_for_status().json()


def start_service(index: Path, log: Path) -> Service:
    """Return a service of `index` on a free port, ready to answer within the deadline."""
    with log.open("w") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "--index", str(index), "--port", "0", "--json"],
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
        service.process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        service.process.kill()
        raise


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), image_count=IMAGE_COUNT)


@pytest.fixture(scope="session")
def index(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    checkpoint = tiny_checkpoint(folder)
    build_index(
        checkpoint=checkpoint,
        images=world / "images",
        captions=world / "captions.jsonl",
        output=folder / "index",
    )
    return folder / "index"


@pytest.fixture(scope="session")
def service(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = start_service(index, tmp_path_factory.mktemp("service") / "stderr.txt")
    yield running
    stop_service(running)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def page_options() -> dict[str, Any]:
    """How the window looks; tests of phones and colour schemes override this."""
    return {"viewport": {"width": 1280, "height": 800}}


@pytest.fixture
def page(chromium: Browser, service: Service, page_options: dict[str, Any]) -> Iterator[Page]:
    context = chromium.new_context(base_url=service.url, **page_options)
    context.set_default_timeout(TIMEOUT_MS)
    yield context.new_page()
    context.close()


@pytest.fixture
def watched(page: Page, service: Service) -> Iterator[Watched]:
    """Whatever a test does, the page logs nothing unforeseen and asks nobody but its service."""
    watched = Watched(page, service.url)
    yield watched
    watched.check()


def _last_lines(log: Path) -> list[str]:
    return log.read_text().splitlines(keepends=True)[-8:]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show what the service said beside every failure."""
    report = yield
    running = getattr(item, "funcargs", {}).get("service")
    if report.failed and running is not None:
        report.sections.append(("service stderr", "".join(_last_lines(running.log))))
    return report
