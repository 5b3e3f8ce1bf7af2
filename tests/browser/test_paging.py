"""More results: on scrolling, by the button, after a failure, after the collection was updated."""

import json

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.browser.chromium import Watched
from tests.browser.conftest import IMAGE_COUNT
from tests.live_service import Service

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("watched")]

PAGE_SIZE = 24


def offsets_of(requests: list[Request]) -> list[int]:
    """Return the offsets of the searches with one sentence."""
    bodies = [json.loads(r.post_data or "{}") for r in requests if r.url.endswith("/search/text")]
    return [body.get("offset", 0) for body in bodies if isinstance(body["query"], str)]


def test_scrolling_continues_the_ranking(page: Page, service: Service, watched: Watched) -> None:
    hits = service.search_text("a star", limit=100)["results"][0]["hits"]
    page.goto("/?q=a+star")
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)
    page.wait_for_timeout(300)
    assert offsets_of(watched.requests) == [0]  # nobody has scrolled yet
    page.mouse.wheel(0, 600)
    expect(page.locator("#hits > li")).to_have_count(IMAGE_COUNT)
    shown = page.locator("#hits > li").evaluate_all("all => all.map(item => item.dataset.id)")
    assert shown == [hit["id"] for hit in hits]
    assert offsets_of(watched.requests) == [0, PAGE_SIZE]
    assert json.loads(watched.requests[-1].post_data or "{}").get("version") in (None, 1)
    expect(page.locator("#more")).to_be_hidden()
    expect(page.get_by_role("status").first).to_contain_text(f"The {IMAGE_COUNT} nearest")


class TestTallWindow:
    @pytest.fixture
    def page_options(self) -> dict[str, object]:
        return {"viewport": {"width": 1280, "height": 1600}}

    def test_a_window_that_is_not_filled_is_filled_without_scrolling(self, page: Page) -> None:
        page.goto("/?q=a+star")
        expect(page.locator("#hits > li")).to_have_count(IMAGE_COUNT)


def test_the_button_continues_the_ranking_and_the_focus(page: Page) -> None:
    page.goto("/?q=a+star")
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)
    page.locator("#more").focus()
    page.wait_for_timeout(300)
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)  # it is theirs to press
    page.keyboard.press("Enter")
    expect(page.locator("#hits > li")).to_have_count(IMAGE_COUNT)
    expect(page.locator("#hits > li > button").nth(PAGE_SIZE)).to_be_focused()


def test_the_larger_view_walks_on_into_the_next_page(page: Page) -> None:
    page.goto("/?q=a+star")
    page.locator("#hits > li > button").nth(PAGE_SIZE - 1).click()
    expect(page.locator("#viewer-title")).to_have_text(f"Result {PAGE_SIZE}")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-title")).to_have_text(f"Result {PAGE_SIZE + 1}")
    page.keyboard.press("Escape")
    expect(page.locator("#hits > li > button").nth(PAGE_SIZE)).to_be_focused()


def test_the_larger_view_waits_for_a_page_that_is_on_its_way(page: Page) -> None:
    page.goto("/?q=a+star")
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)
    held: list[Route] = []
    page.route("**/search/text", lambda route: held.append(route), times=1)
    page.mouse.wheel(0, 600)
    while not held:
        page.wait_for_timeout(20)
    page.locator("#hits > li > button").nth(PAGE_SIZE - 1).click()
    expect(page.locator("#viewer-title")).to_have_text(f"Result {PAGE_SIZE}")
    page.keyboard.press("ArrowRight")
    held[0].continue_()
    expect(page.locator("#viewer-title")).to_have_text(f"Result {PAGE_SIZE + 1}")


def test_a_failure_to_show_more_keeps_what_is_there_and_can_be_tried_again(
    page: Page, watched: Watched
) -> None:
    watched.expected.append("net::ERR_CONNECTION_RESET")
    page.goto("/?q=a+star")
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)
    page.route("**/search/text", lambda route: route.abort("connectionreset"), times=1)
    page.mouse.wheel(0, 600)
    expect(page.locator("#more-note")).to_contain_text("could not be loaded")
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#hits > li")).to_have_count(IMAGE_COUNT)
    expect(page.locator("#more-note")).to_be_hidden()


def test_a_version_that_is_gone_begins_the_list_again_and_says_so(
    page: Page, watched: Watched
) -> None:
    watched.expected.append("409 (Conflict)")

    def ask_for_another_version(route: Route) -> None:
        body = json.loads(route.request.post_data or "{}")
        route.continue_(post_data=json.dumps(body | {"version": 999}))

    page.goto("/?q=a+star")
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)
    page.route("**/search/text", ask_for_another_version, times=1)
    page.mouse.wheel(0, 600)
    expect(page.locator("#restart-note")).to_contain_text("The collection was updated")
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)
    assert page.evaluate("scrollY") == 0
    assert offsets_of(watched.requests) == [0, PAGE_SIZE, 0]
