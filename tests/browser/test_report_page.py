"""The report of `evaluate` in a real Chromium, opened as a file: quiet, alone, readable."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize

from model.command_line import run_commands
from model.training.evaluate import Evaluate
from tests.browser.chromium import TIMEOUT_MS, Watched
from tests.worlds import tiny_checkpoint

pytestmark = pytest.mark.browser

WEAK_CONTRAST = Path(__file__).with_name("weak_contrast.js")
LEAST_CONTRAST = 4.5  # WCAG 2.2, AA, text
WINDOW: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def address(world: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    report = folder / "report.html"
    arguments = ["--checkpoint", tiny_checkpoint(folder), "--data", world, "--split", "all"]
    given = ["evaluate", *arguments, "--report", report]
    assert run_commands("x", {"evaluate": Evaluate}, [str(part) for part in given]) == 0
    return report.as_uri()


@pytest.fixture(params=["light", "dark"])
def opened(
    request: pytest.FixtureRequest, chromium: Browser, address: str
) -> Iterator[tuple[Page, Watched]]:
    context = chromium.new_context(color_scheme=request.param, viewport=WINDOW)
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    watched = Watched(page, address)
    page.goto(address)
    yield page, watched
    context.close()


def test_it_is_quiet_alone_and_readable(opened: tuple[Page, Watched], address: str) -> None:
    page, watched = opened
    page.wait_for_load_state("networkidle")
    watched.check()
    assert {r.url for r in watched.requests if not r.url.startswith("data:")} == {address}
    assert page.evaluate(WEAK_CONTRAST.read_text(), LEAST_CONTRAST) == []
    pictures = page.locator("img")
    assert pictures.count() > 10
    shown = pictures.evaluate_all("all => all.every((one) => one.naturalWidth > 0)")
    assert shown
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_no_label_of_a_chart_lies_outside_it(opened: tuple[Page, Watched]) -> None:
    page, _ = opened
    outside = page.evaluate(
        """() => [...document.querySelectorAll("svg.chart text")].filter((text) => {
             const own = text.getBoundingClientRect();
             const chart = text.ownerSVGElement.getBoundingClientRect();
             return own.left < chart.left - 1 || own.right > chart.right + 1 ||
               own.top < chart.top - 1 || own.bottom > chart.bottom + 1;
           }).map((text) => text.textContent)"""
    )
    assert outside == []
