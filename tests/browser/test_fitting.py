"""Relevance and fit, as the index is calibrated: shown calmly, where the service can tell."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.live_service import Service, start_service, stop_service
from tests.worlds import captions_of, tiny_index

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("watched")]

PICTURE_COUNT = 120  # enough to calibrate with
PAGE_SIZE = 24
# What a picture shows, and words that never stand side by side.
SENTENCES = [
    *itertools.chain.from_iterable(captions_of(number) for number in range(12)),
    *(" ".join(words) for words in itertools.permutations(("is", "of", "number", "grey", "it"), 3)),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder: Path = tmp_path_factory.mktemp("calibrated")
    running = start_service(tiny_index(folder, image_count=PICTURE_COUNT), folder / "stderr.txt")
    yield running
    stop_service(running)


@pytest.fixture(scope="module")
def sentences(service: Service) -> dict[bool, str]:
    """Return a sentence that fits by the API, and one that does not."""
    told: dict[bool, str] = {}
    for start in range(0, len(SENTENCES), 32):
        some = SENTENCES[start : start + 32]
        answer = service.api.post("/search/text", json={"query": some, "limit": 1}).json()
        told |= {result["fits"]: text for text, result in zip(some, answer["results"], strict=True)}
    assert set(told) == {True, False}
    return told


def test_the_score_stands_below_each_picture_and_the_relevance_in_the_viewer(
    page: Page, service: Service, sentences: dict[bool, str]
) -> None:
    hits = service.search_text(sentences[True], limit=PAGE_SIZE)["results"][0]["hits"]
    page.goto(f"/?q={sentences[True]}")
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)
    assert page.locator("#hits .score").all_inner_texts() == [f"{hit['score']:.3f}" for hit in hits]
    page.locator("#hits > li > button").first.click()
    facts = page.locator("#viewer-metadata")
    expect(facts).to_contain_text(re.compile(r"relevance\d+%"))
    shown = re.search(r"relevance(\d+)%", facts.inner_text().replace("\n", ""))
    assert shown and abs(int(shown[1]) - 100 * hits[0]["relevance"]) <= 0.51
    expect(facts).to_contain_text(f"score{hits[0]['score']:.3f}")


def test_a_note_says_when_nothing_really_fits_and_leaves_again(
    page: Page, sentences: dict[bool, str]
) -> None:
    page.goto(f"/?q={sentences[False]}")
    note = page.locator("#fit-note")
    expect(note).to_have_text(
        f"“{sentences[False]}” is unlike the captions of this collection; perhaps nothing fits. "
        "These come nearest."
    )
    expect(page.locator("#hits > li")).to_have_count(PAGE_SIZE)
    picture = page.locator("#hits img").first
    assert float(picture.evaluate("image => getComputedStyle(image).opacity")) < 1
    page.fill("#query", sentences[True])
    expect(page.get_by_role("status").first).to_contain_text(f"“{sentences[True]}”")
    expect(note).to_be_hidden()
