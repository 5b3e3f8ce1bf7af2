"""What `make demo` promises, with the model that it trains: minutes, so marked `demo`."""

import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import Watched, open_chromium
from tests.end_to_end.conftest import ROOT, prepare_demo
from tests.live_service import Service
from tests.page_blocks import blocks_of

pytestmark = [pytest.mark.demo, pytest.mark.timeout(1800)]


def test_a_second_run_reuses_everything(demo: Path) -> None:
    said = prepare_demo(Path() if demo == ROOT else demo)
    assert said.count("there already") == 3


def test_four_of_the_first_five_pictures_for_a_red_circle_contain_one(
    demo_service: Service,
) -> None:
    hits = demo_service.search_text("a red circle", limit=5)["results"][0]["hits"]
    assert sum("red circle" in hit["metadata"]["objects"] for hit in hits) >= 4


def test_most_pictures_find_one_of_their_own_captions_among_ten(
    demo_service: Service, demo: Path
) -> None:
    pictures = sorted((demo / "data" / "scenes" / "images" / "test").glob("*.jpg"))[:10]
    found = 0
    for picture in pictures:
        itself = demo_service.search_file(picture, limit=1, target="images")["results"][0]
        captions = demo_service.search_file(picture, limit=10)["results"][0]["hits"]
        found += any(caption["image_id"] == itself["hits"][0]["id"] for caption in captions)
    assert found >= 8


def test_the_page_finds_red_circles_and_captions_of_a_dropped_picture(
    demo_service: Service, demo: Path
) -> None:
    picture = demo / "data" / "scenes" / "images" / "test" / "00000.jpg"
    with open_chromium() as browser:
        page = browser.new_page(base_url=demo_service.url)
        watched = Watched(page, demo_service.url)
        page.goto("/")
        page.fill("#query", "a red circle")
        page.press("#query", "Enter")
        page.locator("#hits > li > button").first.wait_for()
        pictures = page.locator("#hits img").evaluate_all("all => all.map((image) => image.src)")
        items = [picture.split("/")[-2] for picture in pictures[:5]]
        shown = [demo_service.api.get(f"/items/images/{item}").json()["metadata"] for item in items]
        assert sum("red circle" in metadata["objects"] for metadata in shown) >= 4
        page.set_input_files("#picture-file", picture)
        caption = demo_service.search_file(picture, limit=1)["results"][0]["hits"][0]["caption"]
        expect(page.locator("#hits .caption").first).to_have_text(caption)
        watched.check()


def test_the_curl_lines_of_the_readme_find_five_hits(demo_service: Service, demo: Path) -> None:
    """That they end well is asked in test_pages, for all pages; here what they answer."""
    assert shutil.which("curl"), "this test needs curl"
    (block,) = [
        block
        for block in blocks_of(ROOT / "README.md")
        if block.language == "bash" and "curl" in block.text
    ]
    for command in block.commands:
        line = command.replace("http://127.0.0.1:8000", demo_service.url)
        ran = subprocess.run(line, shell=True, capture_output=True, text=True, check=True, cwd=demo)
        assert '"rank":5' in ran.stdout.replace(" ", ""), ran.stdout
