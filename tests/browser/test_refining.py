"""Refining a search by the columns of the index: what is shown is what the API's filter says."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from index_builder.build import build_index
from tests.browser.chromium import TIMEOUT_MS, Watched
from tests.live_service import Service, start_service, stop_service
from tests.worlds import tiny_checkpoint, write_world

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("watched")]

PICTURE_COUNT = 30
COLOURS = ("red", "green", "blue", "yellow")
PAGE_SIZE = 24


def facts_of(number: int) -> dict[str, Any]:
    """Return the metadata of picture `number`: a column of every kind that can be filtered by."""
    return {
        "main_colour": COLOURS[number % 4],
        "number": number,
        "is_round": number % 3 == 0,
        "tags": [tag for tag, every in (("second", 2), ("fifth", 5)) if number % every == 0],
        "place": f"shelf {number}",
    }


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("columns")
    world = write_world(folder / "world", image_count=PICTURE_COUNT)
    pictures = world / "images"
    with (pictures / "images.jsonl").open("w") as lines:
        for picture in sorted(pictures.rglob("*.png")):
            facts = facts_of(int(picture.stem.removeprefix("picture-")))
            path = picture.relative_to(pictures).as_posix()
            lines.write(json.dumps({"path": path, **facts}) + "\n")
    build_index(
        checkpoint=tiny_checkpoint(folder),
        images=pictures / "images.jsonl",
        captions=world / "captions.jsonl",
        output=folder / "index",
    )
    running = start_service(folder / "index", folder / "stderr.txt")
    yield running
    stop_service(running)


def ids_of(service: Service, **fields: Any) -> list[str]:
    """Return the ids that the API finds for the sentence of these tests."""
    found = service.search_text("a red circle", limit=PAGE_SIZE, **fields)
    return [hit["id"] for hit in found["results"][0]["hits"]]


def shown_ids(page: Page) -> list[str]:
    shown: list[str] = page.locator("#hits > li").evaluate_all("all => all.map(i => i.dataset.id)")
    return shown


def expect_hits(page: Page, ids: list[str]) -> None:
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while shown_ids(page) != ids and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    assert shown_ids(page) == ids


def open_panel(page: Page, address: str = "/?q=a+red+circle") -> Locator:
    page.goto(address)
    page.locator("#hits > li").first.wait_for()
    page.get_by_role("button", name="Refine").click()
    return page.get_by_role("dialog", name="Refine")


def field(panel: Locator, name: str) -> Locator:
    return panel.get_by_role("group", name=name)


def choose(panel: Locator, column: str, value: str) -> None:
    """Tick a choice; not with check(), which would look for the control that was drawn anew."""
    field(panel, column).get_by_label(value, exact=True).click()


def test_every_column_has_the_control_of_its_type(page: Page) -> None:
    panel = open_panel(page)
    names = panel.locator("legend").all_inner_texts()
    assert names == ["main colour", "number", "is round", "tags", "place"]
    expect(field(panel, "main colour").get_by_role("checkbox")).to_have_count(4)
    expect(field(panel, "number").get_by_role("spinbutton")).to_have_count(2)
    expect(field(panel, "is round").get_by_role("radio")).to_have_count(3)
    expect(field(panel, "tags").get_by_role("checkbox")).to_have_count(2)
    expect(field(panel, "place").get_by_role("combobox")).to_have_count(1)


def test_choices_narrow_the_results_and_stand_in_the_address(page: Page, service: Service) -> None:
    panel = open_panel(page)
    choose(panel, "main colour", "red")
    expect_hits(page, ids_of(service, filter={"main_colour": {"eq": "red"}}))
    choose(panel, "main colour", "blue")
    both = ids_of(service, filter={"main_colour": {"in": ["red", "blue"]}})
    expect_hits(page, both)
    expect(page).to_have_url(
        f"{service.url}/?q=a+red+circle&where.main_colour=red&where.main_colour=blue"
    )
    expect(page.locator("#open-refine")).to_have_accessible_name("Refine, 2 in use")
    page.reload()
    expect_hits(page, both)
    page.go_back()
    expect_hits(page, ids_of(service, filter={"main_colour": {"eq": "red"}}))
    page.go_back()
    expect_hits(page, ids_of(service))
    expect(page.locator("#active")).to_be_hidden()


def test_ranges_answers_and_lists_work_together(page: Page, service: Service) -> None:
    panel = open_panel(page)
    panel.get_by_role("spinbutton", name="number from").fill("4")
    panel.get_by_role("spinbutton", name="number to").fill("20")
    choose(panel, "is round", "no")
    choose(panel, "tags", "second")
    wanted = [
        {"number": {"gte": 4}},
        {"number": {"lte": 20}},
        {"is_round": {"eq": False}},
        {"tags": {"eq": "second"}},
    ]
    ids = ids_of(service, filter={"and": wanted})
    assert 0 < len(ids) < PAGE_SIZE
    expect_hits(page, ids)
    chips = page.locator("#active button")
    assert chips.all_inner_texts() == ["number: 4 to 20", "not is round", "tags: second"]


def test_a_chip_takes_its_choice_back_and_all_are_cleared_at_once(
    page: Page, service: Service
) -> None:
    page.goto("/?q=a+red+circle&where.main_colour=red&where.tags=fifth&where.unknown=1")
    chips = page.locator("#active button")
    expect(chips).to_have_text(["main colour: red", "tags: fifth"])
    page.get_by_role("button", name="Remove: tags: fifth").click()
    expect_hits(page, ids_of(service, filter={"main_colour": {"eq": "red"}}))
    expect(chips.first).to_be_focused()
    page.get_by_role("button", name="Clear all").click()
    expect_hits(page, ids_of(service))
    expect(page).to_have_url(f"{service.url}/?q=a+red+circle")


def test_a_choice_of_a_kept_address_that_is_not_known_any_more_is_left_out_and_told(
    page: Page, service: Service
) -> None:
    page.goto("/?q=a+red+circle&where.main_colour=red&where.shelf_mark=K%C3%B6ln&where.number=much")
    note = page.locator("#dropped-note")
    expect(note).to_have_text(
        "Not filtered by shelf mark: Köln, number: much: the pictures here cannot be filtered by "
        "that."
    )
    expect_hits(page, ids_of(service, filter={"main_colour": {"eq": "red"}}))
    page.get_by_role("button", name="Clear all").click()
    expect_hits(page, ids_of(service))
    expect(note).to_be_hidden()


def test_the_panel_is_used_by_keyboard_alone(page: Page, service: Service) -> None:
    page.goto("/?q=a+red+circle")
    page.locator("#hits > li").first.wait_for()
    page.locator("#open-refine").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")  # close
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect_hits(page, ids_of(service, filter={"main_colour": {"eq": "blue"}}))
    blue = page.get_by_role("checkbox", name="blue")
    expect(blue).to_be_focused()  # the panel was drawn anew below the fingers
    expect(blue).to_be_checked()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Refine")).to_be_hidden()
    expect(page.locator("#open-refine")).to_be_focused()


def test_words_of_a_long_column_are_typed(page: Page, service: Service) -> None:
    panel = open_panel(page)
    box = field(panel, "place").get_by_role("combobox")
    for shelf in ("shelf 7", "shelf 12"):
        box.fill(shelf)
        box.press("Enter")
        expect(page.locator("#active button", has_text=f"place: {shelf}")).to_be_visible()
    expect_hits(page, ids_of(service, filter={"place": {"in": ["shelf 7", "shelf 12"]}}))


def test_filters_that_nothing_has_say_so(page: Page) -> None:
    page.goto("/?q=a+red+circle&where.main_colour=red&where.number=1..1")
    expect(page.get_by_role("status").first).to_have_text("No picture has what the filters ask for")
    expect(page.locator("#examples")).to_be_hidden()
    page.get_by_role("button", name="Clear all").click()
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)


def test_typing_on_keeps_the_filters(page: Page, service: Service) -> None:
    page.goto("/?q=a+circle&where.main_colour=red")
    page.locator("#hits > li").first.wait_for()
    page.fill("#query", "a red circle")
    expect(page).to_have_url(f"{service.url}/?q=a+red+circle&where.main_colour=red")
    expect_hits(page, ids_of(service, filter={"main_colour": {"eq": "red"}}))


def test_nothing_is_asked_for_that_nobody_chose(page: Page, watched: Watched) -> None:
    page.goto("/?q=a+red+circle")
    page.locator("#hits > li").first.wait_for()
    (body,) = [r.post_data for r in watched.requests if r.url.endswith("/search/text")]
    assert set(json.loads(body or "")) == {"query", "target", "limit", "offset", "version"}


def switch(page: Page, name: str) -> Locator:
    return page.get_by_role("switch", name=name)


def test_words_count_too_when_asked(page: Page, service: Service) -> None:
    panel = open_panel(page)
    ids = ids_of(service, mode="hybrid")
    assert ids != ids_of(service)
    switch(page, "Words count too").click()
    expect_hits(page, ids)
    expect(page).to_have_url(f"{service.url}/?q=a+red+circle&words=yes")
    expect(panel).to_be_visible()


def test_near_duplicates_are_folded_when_asked(page: Page, service: Service) -> None:
    found = service.search_text("a red circle", limit=PAGE_SIZE, fold_duplicates_above=0.95)
    hits = found["results"][0]["hits"]
    place = next(place for place, hit in enumerate(hits) if hit["duplicates"])
    others = hits[place]["duplicates"]
    page.goto("/?q=a+red+circle&fold=yes")
    expect_hits(page, [hit["id"] for hit in hits])
    hit = page.locator("#hits > li").nth(place)
    expect(hit).to_contain_text(f"+{len(others)} alike")
    hit.locator("button").click()
    alike = page.locator("#viewer-alike img")
    expect(alike).to_have_count(len(others))
    expect(alike.first).to_have_attribute("src", f"images/{others[0]['id']}/thumbnail")


def test_captions_are_grouped_by_picture_when_asked(page: Page, service: Service) -> None:
    grouped = service.search_text(
        "a red circle", limit=PAGE_SIZE, target="captions", group_by="image"
    )
    hits = grouped["results"][0]["hits"]
    page.goto("/?q=a+red+circle&find=captions&group=yes")
    expect_hits(page, [hit["id"] for hit in hits])
    others = len(hits[0]["captions"])
    expect(page.locator("#hits > li").first).to_contain_text(f"and {others} more of this picture")
    page.get_by_role("button", name="Pictures", exact=True).click()
    expect_hits(page, ids_of(service))


def test_on_a_phone_the_panel_fits_and_everything_in_it_can_be_touched(
    chromium: Browser, service: Service
) -> None:
    context = chromium.new_context(
        base_url=service.url, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    panel = open_panel(page)
    assert panel.evaluate("panel => panel.scrollWidth") <= 390
    small = panel.locator("button, .choice, .switch, input:not([type=checkbox], [type=radio])")
    sizes = small.evaluate_all(
        "all => all.map(one => one.getBoundingClientRect()).map(box => [box.width, box.height])"
    )
    assert sizes
    assert min(min(size) for size in sizes) >= 44
    field(panel, "main colour").get_by_label("blue", exact=True).tap()
    expect_hits(page, ids_of(service, filter={"main_colour": {"eq": "blue"}}))
    context.close()
