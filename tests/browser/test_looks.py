"""What can be measured about looks: it fits a phone, is read in both schemes, and keeps still."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("watched")]

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
SEARCHES = ("/", "/?q=a+red+circle", "/?q=a+red+circle&find=captions")
WEAK_CONTRAST = Path(__file__).with_name("weak_contrast.js")
LEAST_CONTRAST = 4.5  # WCAG 2.2, AA, text
LEAST_TOUCH_PX = 44  # WCAG 2.2, AAA, target size


def settle(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("#examples.ready, #hits > li").first.wait_for()
    page.wait_for_load_state("networkidle")


class TestPhone:
    @pytest.fixture
    def page_options(self) -> dict[str, Any]:
        return PHONE

    @pytest.mark.parametrize("address", SEARCHES)
    def test_nothing_is_wider_than_the_phone(self, page: Page, address: str) -> None:
        settle(page, address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390

    @pytest.mark.parametrize("address", SEARCHES)
    def test_everything_that_is_touched_is_large_enough(self, page: Page, address: str) -> None:
        settle(page, address)
        small = page.evaluate(
            """(least) => [...document.querySelectorAll("button, a[href]")]
                .map((element) => [element, element.getBoundingClientRect()])
                .filter(([element, { left, width }]) => width && left > -100)
                .filter(([, { width, height }]) => width < least || height < least)
                .map(([element]) => element.outerHTML)""",
            LEAST_TOUCH_PX,
        )
        assert not small

    def test_the_larger_view_fits_and_closes(self, page: Page) -> None:
        settle(page, "/?q=a+red+circle")
        page.locator("#hits > li > button").first.tap()
        viewer = page.get_by_role("dialog")
        assert viewer.evaluate("dialog => dialog.scrollWidth") <= 390
        page.get_by_role("button", name="Close").tap()
        expect(viewer).to_be_hidden()


class TestSmallestScreen:
    @pytest.fixture
    def page_options(self) -> dict[str, Any]:
        return PHONE | {"viewport": {"width": 320, "height": 568}}

    @pytest.mark.parametrize("address", SEARCHES)
    def test_nothing_is_wider_than_the_screen(self, page: Page, address: str) -> None:
        settle(page, address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320

    def test_pictures_stand_two_in_a_row(self, page: Page) -> None:
        settle(page, "/?q=a+red+circle")
        first, second = (page.locator("#hits > li").nth(place).bounding_box() for place in (0, 1))
        assert first and second and first["y"] == second["y"]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("address", SEARCHES)
def test_letters_of_twice_the_size_fit(page: Page, address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    settle(page, address)
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator("#query").bounding_box()
    assert box and box["width"] > 80


class TestSchemes:
    @pytest.fixture(params=["light", "dark"])
    def page_options(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        return {"viewport": {"width": 1280, "height": 800}, "color_scheme": request.param}

    @pytest.mark.parametrize("address", SEARCHES)
    def test_text_can_be_read(self, page: Page, address: str) -> None:
        settle(page, address)
        assert page.evaluate(WEAK_CONTRAST.read_text(), LEAST_CONTRAST) == []

    def test_the_page_follows_the_scheme_of_the_system(
        self, page: Page, page_options: dict[str, Any]
    ) -> None:
        settle(page, "/")
        red = page.evaluate(
            "parseInt(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0])"
        )
        assert (red < 60) == (page_options["color_scheme"] == "dark")


class TestStillness:
    @pytest.fixture
    def page_options(self) -> dict[str, Any]:
        return {"reduced_motion": "reduce"}

    def test_nothing_moves_for_those_who_asked_for_stillness(self, page: Page) -> None:
        settle(page, "/?q=a+red+circle")
        moving = page.evaluate(
            """[...document.querySelectorAll("*")]
                .filter((element) => getComputedStyle(element).transitionDuration !== "0s")
                .map((element) => element.outerHTML.slice(0, 80))"""
        )
        assert not moving


def test_a_page_of_results_needs_no_layout_twice(page: Page) -> None:
    """Pictures keep their place while they load: the frames know their shape beforehand."""
    page.add_init_script(
        """window.shifts = 0;
        new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) window.shifts += entry.value;
        }).observe({ type: "layout-shift", buffered: true });"""
    )
    settle(page, "/?q=a+red+circle")
    assert page.evaluate("window.shifts") < 0.1
