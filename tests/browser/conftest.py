"""A real index, a real service on loopback, a real Chromium: made once for all tests here."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import TIMEOUT_MS, Watched, open_chromium
from tests.live_service import Service, start_service, stop_service
from tests.worlds import index_world, tiny_checkpoint, write_world

IMAGE_COUNT = 30  # more than the page shows at once

expect.set_options(timeout=TIMEOUT_MS)  # a busy machine is no failure


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), image_count=IMAGE_COUNT)


@pytest.fixture(scope="session")
def index(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    return index_world(world, tiny_checkpoint(folder), folder / "index")


@pytest.fixture(scope="session")
def service(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = start_service(index, tmp_path_factory.mktemp("service") / "stderr.txt")
    yield running
    stop_service(running)


# Not for the session: Playwright keeps an event loop running, in which no async test can run.
@pytest.fixture(scope="module")
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show what the service said beside every failure."""
    report = yield
    running = getattr(item, "funcargs", {}).get("service")
    if report.failed and running is not None:
        report.sections.append(("service stderr", running.last_lines()))
    return report
