"""Results while a sentence is typed: soon, steady, never stale, one step in the history."""

import datetime
import json

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.browser.chromium import Watched
from tests.live_service import Service

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("watched")]

PAGE_SIZE = 24
SOON_MS = 200  # more than the page waits after a key
SETTLED_MS = 2_000  # more than it waits until it takes a sentence as meant


def open_empty_page(page: Page) -> None:
    page.goto("/")
    page.locator("#examples.ready").wait_for()


def sentences_of(requests: list[Request]) -> list[str]:
    """Return the single sentences that were searched with, in order."""
    bodies = [json.loads(r.post_data or "{}") for r in requests if r.url.endswith("/search/text")]
    return [body["query"] for body in bodies if isinstance(body["query"], str)]


def test_pictures_appear_while_the_sentence_is_typed(page: Page, service: Service) -> None:
    open_empty_page(page)
    page.locator("#query").press_sequentially("a red circle", delay=30)
    expect(page.get_by_role("status")).to_have_text("The 24 nearest pictures to “a red circle”")
    expect(page.locator("#query")).to_be_focused()
    expect(page).to_have_url(f"{service.url}/?q=a+red+circle")
    shown = page.locator("#hits > li").evaluate_all("all => all.map(item => item.dataset.id)")
    hits = service.search_text("a red circle", limit=PAGE_SIZE)["results"][0]["hits"]
    assert shown == [hit["id"] for hit in hits]


def test_quick_typing_asks_once_and_enter_does_not_ask_again(page: Page, watched: Watched) -> None:
    open_empty_page(page)
    page.locator("#query").press_sequentially("a red circle", delay=5)
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)
    page.keyboard.press("Enter")
    page.wait_for_timeout(400)
    assert sentences_of(watched.requests) == ["a red circle"]


def test_a_request_that_is_overtaken_is_given_up(page: Page, watched: Watched) -> None:
    held: list[Route] = []
    open_empty_page(page)
    page.route("**/search/text", lambda route: held.append(route), times=1)
    page.fill("#query", "a red")
    expect(page).to_have_title("a red · HREM search")
    with page.expect_event("requestfailed") as given_up:
        page.fill("#query", "a red circle")
    assert sentences_of([given_up.value]) == ["a red"]
    assert held
    expect(page.get_by_role("status")).to_contain_text("“a red circle”")


def test_a_sentence_being_typed_is_one_step_in_the_history(page: Page, service: Service) -> None:
    page.clock.install()
    page.goto("/?q=a+blue+square")
    box, status = page.locator("#query"), page.get_by_role("status")
    expect(status).to_contain_text("“a blue square”")
    page.clock.pause_at(datetime.datetime.now() + datetime.timedelta(hours=1))
    for words in ("a red", "a red circle"):
        box.fill(words)
        page.clock.run_for(SOON_MS)
        expect(page).to_have_url(f"{service.url}/?q={words.replace(' ', '+')}")
    page.clock.run_for(SETTLED_MS)
    box.fill("a red circle on grey")
    page.clock.run_for(SOON_MS)
    expect(status).to_contain_text("“a red circle on grey”")
    page.go_back()
    expect(status).to_contain_text("“a red circle”")
    expect(box).to_have_value("a red circle")
    page.go_back()
    expect(status).to_contain_text("“a blue square”")
    page.go_forward()
    expect(status).to_contain_text("“a red circle”")


def test_nothing_is_searched_while_a_character_is_composed(page: Page, watched: Watched) -> None:
    open_empty_page(page)
    page.focus("#query")
    keys = page.context.new_cdp_session(page)
    keys.send("Input.imeSetComposition", {"text": "へ", "selectionStart": 1, "selectionEnd": 1})
    page.wait_for_timeout(500)
    assert sentences_of(watched.requests) == []
    keys.send("Input.insertText", {"text": "平"})
    expect(page.get_by_role("status")).to_contain_text("“平”")


def test_pictures_that_stay_are_the_same_ones(page: Page) -> None:
    """What a longer sentence finds again is not drawn anew: nothing flickers."""
    open_empty_page(page)
    page.fill("#query", "a red circle")
    expect(page.get_by_role("status")).to_contain_text("“a red circle”")
    page.evaluate("for (const image of document.querySelectorAll('#hits img')) image.was = true")
    page.fill("#query", "a red circle on")
    expect(page.get_by_role("status")).to_contain_text("“a red circle on”")
    kept = page.locator("#hits img").evaluate_all("all => all.filter(one => one.was).length")
    assert kept > PAGE_SIZE / 2  # 24 of 30 pictures twice: at least 18 are in both


def test_screen_readers_hear_the_outcome_once_the_typing_rests(page: Page) -> None:
    open_empty_page(page)
    page.fill("#query", "a red circle")
    status = page.get_by_role("status")
    expect(status).to_contain_text("“a red circle”")
    expect(status).to_have_attribute("aria-live", "off")
    expect(status).to_have_attribute("aria-live", "polite")
    expect(status).to_contain_text("“a red circle”")


def test_an_emptied_box_rests_where_it_is(page: Page, service: Service) -> None:
    page.goto("/?q=a+red+circle")
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)
    before = page.locator("#query").bounding_box()
    page.get_by_role("button", name="Clear the sentence").click()
    expect(page.locator("#example-sentences button").first).to_be_visible()
    expect(page.locator("#hits > li")).to_have_count(0)
    expect(page).to_have_url(f"{service.url}/")
    expect(page.locator("#query")).to_be_focused()
    after = page.locator("#query").bounding_box()
    assert before and after and after["y"] == before["y"]
