"""The search page in a real browser, against a real service: what it shows is what the API says."""

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.chromium import Watched
from tests.live_service import Service

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("watched")]

PAGE_SIZE = 24


def type_sentence(page: Page, sentence: str) -> None:
    page.fill("#query", sentence)
    page.press("#query", "Enter")


def shown_scores(page: Page) -> list[str]:
    return page.locator("#hits .score").all_inner_texts()


def api_scores(hits: list[dict[str, Any]]) -> list[str]:
    return [f"{hit['score']:.3f}" for hit in hits]


def has_picture(image: Locator) -> bool:
    return bool(image.evaluate("image => image.decode().then(() => image.naturalWidth > 0)"))


@pytest.fixture
def picture(world: Path) -> Path:
    return world / "images" / "picture-04.png"


def test_a_sentence_finds_the_pictures_of_the_api_in_its_order_with_its_scores(
    page: Page, service: Service
) -> None:
    hits = service.search_text("a red circle", limit=PAGE_SIZE)["results"][0]["hits"]
    page.goto("/")
    type_sentence(page, "a red circle")
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)
    sources = page.locator("#hits img").evaluate_all("all => all.map(i => i.getAttribute('src'))")
    assert sources == [hit["image"]["thumbnail_url"] for hit in hits]
    assert shown_scores(page) == api_scores(hits)
    assert has_picture(page.locator("#hits img").first)
    expect(page.get_by_role("status")).to_have_text("The 24 nearest pictures to “a red circle”")
    expect(page).to_have_url(f"{service.url}/?q=a+red+circle")
    expect(page.locator("#index-facts")).to_contain_text("index 1")
    expect(page.locator("#timing")).to_contain_text("ms")


def check_captions_of(page: Page, service: Service, picture: Path) -> None:
    hits = service.search_file(picture, limit=PAGE_SIZE)["results"][0]["hits"]
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)
    assert page.locator("#hits .caption").all_inner_texts() == [hit["caption"] for hit in hits]
    assert shown_scores(page) == api_scores(hits)
    sources = page.locator("#hits img").evaluate_all("all => all.map(i => i.getAttribute('src'))")
    assert sources == [hit["image"]["thumbnail_url"] for hit in hits]
    assert has_picture(page.locator("#query-picture-image"))


def test_a_chosen_picture_finds_captions_with_their_thumbnails(
    page: Page, service: Service, picture: Path
) -> None:
    page.goto("/")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Search with a picture").click()
    chooser.value.set_files(picture)
    check_captions_of(page, service, picture)


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_dropped_or_pasted_picture_finds_captions(
    page: Page, service: Service, picture: Path, way: str
) -> None:
    page.goto("/")
    page.locator("#examples.ready").wait_for()
    page.evaluate(
        """([way, base64]) => {
            const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "picture.png", { type: "image/png" }));
            const send = (kind, type, more) =>
                document.body.dispatchEvent(
                    new kind(type, { bubbles: true, cancelable: true, ...more }));
            const veiled = () => document.body.classList.contains("dropping");
            if (way === "paste") return send(ClipboardEvent, "paste", { clipboardData: transfer });
            send(DragEvent, "dragenter", { dataTransfer: transfer });
            if (!veiled()) throw new Error("nothing tells that the picture can be dropped");
            send(DragEvent, "drop", { dataTransfer: transfer });
            if (veiled()) throw new Error("the page stays veiled");
        }""",
        [way, base64.b64encode(picture.read_bytes()).decode()],
    )
    check_captions_of(page, service, picture)


def test_an_example_sentence_and_an_example_picture_start_a_search(page: Page) -> None:
    page.goto("/")
    sentence = page.locator("#example-sentences button").first
    words = sentence.inner_text()
    sentence.click()
    expect(page.get_by_role("status")).to_contain_text(f"“{words}”")
    page.get_by_role("link", name="HREM search, start again").click()
    page.locator("#example-pictures button").first.click()
    expect(page.get_by_role("status")).to_contain_text("captions to this picture")


def test_the_page_is_used_by_keyboard_alone(page: Page) -> None:
    page.goto("/")
    page.locator("#main").click(position={"x": 2, "y": 2})  # away from the box
    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()
    page.keyboard.type("a blue square")
    page.keyboard.press("Enter")
    buttons = page.locator("#hits > li > button")
    expect(buttons).to_have_count(PAGE_SIZE)

    page.keyboard.press("ArrowDown")
    expect(buttons.nth(0)).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(buttons.nth(1)).to_be_focused()
    page.keyboard.press("Tab")
    expect(buttons.nth(2)).to_be_focused()
    page.keyboard.press("ArrowDown")
    below = page.evaluate("document.activeElement.getBoundingClientRect().top")
    assert below > buttons.nth(2).bounding_box()["y"]
    page.keyboard.press("ArrowUp")
    expect(buttons.nth(2)).to_be_focused()

    page.keyboard.press("Enter")
    viewer = page.get_by_role("dialog")
    expect(viewer).to_be_visible()
    title = page.locator("#viewer-title")
    expect(title).to_have_text("Result 3")
    page.keyboard.press("ArrowRight")
    expect(title).to_have_text("Result 4")
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(buttons.nth(3)).to_be_focused()  # the picture that was seen last
    page.keyboard.press("Escape")
    expect(page.locator("#query")).to_be_focused()


def test_the_focus_is_always_to_be_seen(page: Page) -> None:
    page.goto("/?q=a+blue+square")
    page.locator("#hits > li").first.wait_for()
    page.locator("#home").focus()
    for _ in range(12):
        page.keyboard.press("Tab")
        shown = page.evaluate(
            """() => {
                const active = document.activeElement;
                const field = getComputedStyle(active.closest(".field:focus-within") ?? active);
                const outline = getComputedStyle(active).outlineStyle;
                return outline !== "none" || field.boxShadow !== "none";
            }"""
        )
        assert shown, page.evaluate("document.activeElement.outerHTML")


def test_everything_that_can_be_activated_has_a_name(page: Page) -> None:
    page.goto("/")
    page.locator("#examples.ready").wait_for()
    snapshots = [page.locator("body").aria_snapshot()]
    type_sentence(page, "a blue square")
    page.locator("#hits > li > button").first.click()
    page.locator("#viewer-captions li").first.wait_for()
    snapshots.append(page.get_by_role("dialog").aria_snapshot())
    page.locator("#viewer-captions-search").click()
    page.locator("#hits .caption").first.wait_for()
    snapshots.append(page.locator("body").aria_snapshot())
    for snapshot in snapshots:
        named = re.findall(r'- (?:button|link|searchbox) "', snapshot)
        every = re.findall(r"- (?:button|link|searchbox)\b", snapshot)
        assert len(named) == len(every) > 5, snapshot


def test_the_larger_view_shows_the_picture_its_captions_and_its_data(
    page: Page, service: Service
) -> None:
    hit = service.search_text("a green triangle", limit=1)["results"][0]["hits"][0]
    captions = service.api.post(
        "/search/image", json={"image": {"id": hit["id"]}, "limit": 5}
    ).json()["results"][0]["hits"]
    page.goto("/?q=a+green+triangle")
    page.locator("#hits > li > button").first.click()
    items = page.locator("#viewer-captions li")
    expect(items).to_have_count(5)
    assert items.locator("button").all_inner_texts() == [found["caption"] for found in captions]
    assert has_picture(page.locator("#viewer-picture"))
    expect(page.locator("#viewer-metadata")).to_contain_text("48 × 48")
    expect(page.locator("#viewer-metadata")).to_contain_text(f"{hit['score']:.3f}")

    page.get_by_role("dialog").get_by_role("button", name="Captions", exact=True).click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("#hits .caption").first).to_have_text(captions[0]["caption"])
    expect(page).to_have_url(f"{service.url}/?image={hit['id']}")


def test_a_picture_also_finds_pictures_and_itself_first(page: Page, service: Service) -> None:
    image_id = service.search_text("a star", limit=1)["results"][0]["hits"][0]["id"]
    page.goto("/?q=a+star")
    page.locator("#hits > li > button").first.click()
    page.get_by_role("button", name="More like this").click()
    first = page.locator(".picture-hit").first
    expect(first).to_have_attribute("aria-label", f"Picture {image_id}, rank 1, score 1.000")
    expect(page).to_have_url(f"{service.url}/?image={image_id}&find=images")


def test_the_address_and_the_history_hold_the_query(page: Page, picture: Path) -> None:
    page.goto("/?q=a+red+circle")
    status = page.get_by_role("status")
    expect(status).to_contain_text("“a red circle”")
    page.set_input_files("#picture-file", picture)
    expect(status).to_contain_text("captions to this picture")
    type_sentence(page, "a yellow star")
    expect(status).to_contain_text("“a yellow star”")
    page.go_back()
    expect(status).to_contain_text("captions to this picture")
    page.go_back()
    expect(status).to_contain_text("“a red circle”")
    expect(page.locator("#query")).to_have_value("a red circle")
    page.go_forward()
    expect(status).to_contain_text("captions to this picture")
    page.reload()
    expect(page.locator("#examples.ready")).to_be_visible()


def test_a_corrupt_picture_is_answered_with_the_problem_and_its_request_id(
    page: Page, watched: Watched, tmp_path: Path
) -> None:
    watched.expected.append("400 (Bad Request)")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 and nothing else")
    page.goto("/")
    with page.expect_response("**/search/image") as answered:
        page.set_input_files("#picture-file", broken)
    problem = answered.value.json()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text(problem["title"])
    expect(alert).to_contain_text(problem["detail"])
    expect(alert).to_contain_text(problem["request_id"])
    type_sentence(page, "a red circle")
    expect(alert).to_be_hidden()
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)


def test_a_lost_connection_is_told_and_trying_again_helps(page: Page, watched: Watched) -> None:
    watched.expected.append("net::ERR_CONNECTION_RESET")

    def cut(route: Route) -> None:
        route.abort("connectionreset")

    page.goto("/")
    page.locator("#examples.ready").wait_for()
    page.route("**/search/text", cut)
    type_sentence(page, "a red circle")
    expect(page.get_by_role("alert")).to_contain_text("The service did not answer")
    page.unroute("**/search/text", cut)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)


def test_a_slow_answer_says_that_the_search_is_under_way(page: Page) -> None:
    held: list[Route] = []
    page.goto("/")
    page.locator("#examples.ready").wait_for()
    page.route("**/search/text", lambda route: held.append(route))
    type_sentence(page, "a red circle")
    expect(page.get_by_role("status")).to_have_text("Searching…")
    expect(page.locator("#hits")).to_have_attribute("aria-busy", "true")
    held[0].continue_()
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)
    expect(page.locator("#hits")).to_have_attribute("aria-busy", "false")


def test_only_the_last_of_two_quick_searches_is_shown(page: Page) -> None:
    held: list[Route] = []
    page.goto("/")
    page.locator("#examples.ready").wait_for()
    page.route("**/search/text", lambda route: held.append(route))
    type_sentence(page, "a red circle")
    type_sentence(page, "a blue square")
    page.wait_for_function("document.title.startsWith('a blue square')")
    for route in reversed(held):
        route.continue_()
    expect(page.get_by_role("status")).to_contain_text("“a blue square”")
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)


def test_nothing_found_says_so_and_offers_examples(page: Page) -> None:
    def without_hits(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        for result in body["results"]:
            result.update(hits=[], next_offset=None)
        route.fulfill(response=answer, json=body)

    page.route("**/search/text", without_hits, times=1)
    page.goto("/?q=a+red+circle")
    expect(page.get_by_role("status")).to_have_text("Nothing found for “a red circle”")
    expect(page.locator("#example-sentences button").first).to_be_visible()


def test_a_sentence_that_is_too_long_is_answered_with_a_warning(page: Page) -> None:
    page.goto("/")
    type_sentence(page, "a red circle " * 3_000)
    warning = page.locator("#warning")
    expect(warning).to_contain_text("Only the beginning of this sentence was read")
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)
    page.reload()  # too long for the address, and yet not forgotten
    expect(warning).to_contain_text("Only the beginning of this sentence was read")


def test_spaces_are_no_query(page: Page, watched: Watched) -> None:
    page.goto("/")
    page.locator("#examples.ready").wait_for()
    before = len(watched.requests)
    type_sentence(page, "    ")
    expect(page.locator("#query")).to_be_focused()
    assert len(watched.requests) == before


def test_markup_in_a_query_is_shown_as_it_was_typed(page: Page) -> None:
    page.goto("/")
    words = "<img src=x onerror=alert(1)><b>bold</b>"
    type_sentence(page, words)
    expect(page.get_by_role("status")).to_contain_text(words)
    assert page.locator("#status *").count() == 0
