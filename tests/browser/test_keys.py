"""A service that wants a key: the page asks for it once, and then does what was asked."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import Watched
from tests.live_service import Service, start_service, stop_service

pytestmark = pytest.mark.browser

KEY = "page-key-0123456789abcdef"
PAGE_SIZE = 24


@pytest.fixture(scope="module")
def service(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("keys")
    keys = folder / "keys.toml"
    keys.touch(mode=0o600)
    keys.write_text(f'[[keys]]\nname = "page"\nkey = "{KEY}"\n')
    running = start_service(index, folder / "stderr.txt", "--keys", keys)
    yield running
    stop_service(running)


@pytest.fixture(autouse=True)
def refusals_are_expected(watched: Watched) -> None:
    watched.expected.append("401 (Unauthorized)")


def give(page: Page, key: str) -> None:
    page.get_by_label("Key", exact=True).fill(key)
    page.keyboard.press("Enter")


def test_the_key_is_asked_for_once_and_the_search_goes_on(page: Page, watched: Watched) -> None:
    page.goto("/?q=a+red+circle")
    dialog = page.get_by_role("dialog", name="A key, please")
    expect(dialog).to_be_visible()
    expect(page.get_by_label("Key", exact=True)).to_be_focused()
    give(page, KEY)
    expect(dialog).to_be_hidden()
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)
    picture = page.locator("#hits img").first
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth > 0)")
    page.reload()
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)
    expect(dialog).to_be_hidden()
    assert not page.evaluate("document.cookie + Object.keys(localStorage)")
    assert KEY not in "".join(request.url for request in watched.requests)


def test_a_wrong_key_is_told_and_another_can_be_given(page: Page) -> None:
    page.goto("/")
    give(page, "wrong-key-0123456789abcdef")
    expect(page.locator("#key-note")).to_have_text("The service does not know this key.")
    give(page, KEY)
    expect(page.get_by_role("dialog", name="A key, please")).to_be_hidden()
    expect(page.locator("#examples.ready")).to_be_visible()


def test_who_has_no_key_now_can_give_one_later(page: Page) -> None:
    page.goto("/?q=a+red+circle")
    page.get_by_role("button", name="Not now").click()
    expect(page.get_by_role("alert").first).to_contain_text("A key is needed")
    page.get_by_role("button", name="Enter a key").click()
    give(page, KEY)
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)
