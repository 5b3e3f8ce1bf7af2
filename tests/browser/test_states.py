"""What the page says when the service is busy, out of reach, or in no mood for a picture."""

import io
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.browser.chromium import Watched

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("watched")]

PAGE_SIZE = 24
OVERLOADED = {
    "type": "about:blank",
    "title": "Overloaded",
    "status": 503,
    "detail": "More is waiting than the queue holds.",
    "code": "overloaded",
    "request_id": "0",
    "errors": [],
}


def refuse_as_busy(route: Route) -> None:
    route.fulfill(status=503, json=OVERLOADED, headers={"Retry-After": "1"})


def test_a_busy_service_is_asked_once_more_quietly(page: Page, watched: Watched) -> None:
    watched.expected.append("503 (Service Unavailable)")
    page.goto("/")
    page.locator("#examples.ready").wait_for()
    page.route("**/search/text", refuse_as_busy, times=1)
    page.fill("#query", "a red circle")
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_service_that_stays_busy_is_told_of_calmly(page: Page, watched: Watched) -> None:
    watched.expected.append("503 (Service Unavailable)")
    page.goto("/")
    page.locator("#examples.ready").wait_for()
    page.route("**/search/text", refuse_as_busy, times=2)
    page.fill("#query", "a red circle")
    expect(page.get_by_role("alert")).to_contain_text("The service is busy just now")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)


def test_a_lost_network_is_told_and_the_search_goes_on_when_it_is_back(
    page: Page, watched: Watched
) -> None:
    watched.expected.append("net::ERR_INTERNET_DISCONNECTED")
    page.goto("/")
    page.locator("#examples.ready").wait_for()
    page.context.set_offline(True)
    page.fill("#query", "a red circle")
    expect(page.get_by_role("alert")).to_contain_text("You are offline")
    page.context.set_offline(False)
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)


@pytest.mark.parametrize("side", [5_200, 1_200])
def test_a_photo_too_large_for_the_service_is_sent_smaller(
    page: Page, watched: Watched, tmp_path: Path, side: int
) -> None:
    """One has more pixels than are taken, the other more bytes; neither is a person's business."""
    watched.expected.append("413")
    picture = Image.new("RGB", (side, side), (200, 60, 60))
    if side < 5_000:
        noise = Image.effect_noise((side, side), 200)
        picture = Image.merge("RGB", [noise] * 3).resize((2_000, 2_000))
    content = io.BytesIO()
    picture.save(content, "BMP" if side < 5_000 else "PNG")
    photo = tmp_path / "photo.bmp"
    photo.write_bytes(content.getvalue())
    page.goto("/")
    page.set_input_files("#picture-file", photo)
    expect(page.get_by_role("status").first).to_contain_text("captions to this picture")
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)
