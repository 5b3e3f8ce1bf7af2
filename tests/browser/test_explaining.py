"""Why a picture was found: the API's explanation, drawn over the picture and told in words."""

import re
import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import TIMEOUT_MS, Watched
from tests.live_service import Service

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("watched")]

SENTENCE = "a red circle"


def explanation_of(service: Service, rank: int = 1) -> dict[str, Any]:
    found = service.search_text(SENTENCE, limit=1, offset=rank - 1, explain=True)
    explanation: dict[str, Any] = found["results"][0]["hits"][0]["explanation"]
    return explanation


def open_explanation(page: Page) -> None:
    page.goto("/?q=a+red+circle")
    page.locator("#hits > li > button").first.click()
    page.get_by_role("button", name="Why this picture?").click()
    expect(page.locator("#explanation-words button").first).to_be_visible()


def shown_cells(page: Page) -> list[dict[str, Any]]:
    """Return kind and strength of every cell that is drawn, in the order of the regions."""
    cells: list[dict[str, Any]] = page.locator("#heat-map > rect").evaluate_all(
        """all => all.map((cell) => ({
            kind: cell.getAttribute("class"),
            strength: Number(cell.getAttribute("fill-opacity")),
        }))"""
    )
    return cells


def drawn_for(values: list[float], strongest: float) -> list[dict[str, Any]]:
    """Return what has to be drawn for the API's numbers: strength, and what gives and takes."""
    strengths = [abs(value) / strongest for value in values]
    return [
        {
            "kind": "takes" if value < 0 else "gives",
            "strength": pytest.approx(0.8 * strength if strength >= 0.02 else 0, abs=2e-3),
        }
        for value, strength in zip(values, strengths, strict=True)
    ]


def expect_cells(page: Page, values: list[float], strongest: float) -> None:
    wanted = drawn_for(values, strongest)
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while shown_cells(page) != wanted and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    assert shown_cells(page) == wanted


def test_the_sum_over_all_words_is_drawn_first(page: Page, service: Service) -> None:
    explanation = explanation_of(service)
    sums = [sum(row) for row in explanation["matrix"]]
    open_explanation(page)
    expect_cells(page, sums, max(map(abs, sums)))
    told = page.locator("#explanation-told")
    expect(told).to_contain_text(
        f"All words together: {explanation['score']:.3f}".replace("-", "−")
    )
    stage, drawn = page.locator("#stage").bounding_box(), page.locator("#heat-map").bounding_box()
    assert stage == drawn


def test_a_word_shows_its_own_cells_while_pointed_at_and_stays_when_tapped(
    page: Page, service: Service
) -> None:
    explanation = explanation_of(service)
    matrix = explanation["matrix"]
    sums = [sum(row) for row in matrix]
    strongest = max(abs(value) for row in matrix for value in row)
    place = next(
        place for place, word in enumerate(explanation["words"]) if word["text"] == "circle"
    )
    column = [row[place] for row in matrix]
    open_explanation(page)
    word = page.locator("#explanation-words").get_by_role("button", name="circle")
    word.hover()
    expect(page.locator("#explanation-told")).to_contain_text("“circle”")
    expect_cells(page, column, strongest)
    page.locator("#viewer-title").hover()
    expect_cells(page, sums, max(map(abs, sums)))
    word.click()
    page.locator("#viewer-title").hover()
    expect(word).to_have_attribute("aria-pressed", "true")
    expect_cells(page, column, strongest)


def test_words_are_walked_by_keyboard(page: Page) -> None:
    open_explanation(page)
    page.get_by_role("button", name="Why this picture?").focus()
    page.keyboard.press("Tab")
    words = page.locator("#explanation-words button")
    expect(words.first).to_be_focused()
    names = words.all_inner_texts()
    assert [name for name in names if name in SENTENCE.split()] == SENTENCE.split()
    for name in names[1:]:
        page.keyboard.press("ArrowRight")
        expect(page.locator("#explanation-told")).to_contain_text(f"“{name}”")
    expect(page.locator("#viewer-title")).to_have_text("Result 1")  # the picture stayed


def test_the_next_picture_is_explained_too(page: Page, service: Service) -> None:
    second = explanation_of(service, rank=2)
    open_explanation(page)
    page.get_by_role("button", name="Next →").click()
    sums = [sum(row) for row in second["matrix"]]
    told = page.locator("#explanation-told")
    expect(told).to_contain_text(re.compile(f"{second['score']:.3f}".replace("-", "−")))
    expect_cells(page, sums, max(map(abs, sums)))
    page.get_by_role("button", name="Why this picture?").click()
    expect(page.locator("#explanation")).to_be_hidden()


def test_nothing_is_explained_before_anybody_asks(page: Page, watched: Watched) -> None:
    page.goto("/?q=a+red+circle")
    page.locator("#hits > li > button").first.click()
    page.locator("#viewer-captions li").first.wait_for()
    assert not [r for r in watched.requests if "explain" in (r.post_data or "")]


def test_a_search_with_a_picture_offers_no_explanation(page: Page, service: Service) -> None:
    image_id = service.search_text(SENTENCE, limit=1)["results"][0]["hits"][0]["id"]
    page.goto(f"/?image={image_id}&find=images")
    page.locator("#hits > li > button").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.get_by_role("button", name="Why this picture?")).to_be_hidden()
