"""Every command of README, CONTRIBUTING and docs is run, page by page, as a reader would."""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from tests.end_to_end.page_reader import PageReader, furnish
from tests.page_blocks import PAGES, ROOT, Block, blocks_of

pytestmark = [pytest.mark.demo, pytest.mark.timeout(3600)]

PAGE_TEST = "test_every_command_of_a_page_does_what_it_says"
RUNNABLE = ("bash", "python")
# Run by tests/test_api_page.py, which compares the answers too.
ELSEWHERE = {ROOT / "docs" / "api.md"}
RUN = {
    page: blocks
    for page in PAGES
    if page not in ELSEWHERE
    and (blocks := [one for one in blocks_of(page) if one.language in RUNNABLE and not one.not_run])
}


@dataclass
class Desk:
    """Where pages are read: in a furnished folder each, as many at once as there are cores."""

    furnished: Path
    folder: Path
    readings: dict[Path, Future[None]] = field(default_factory=dict)

    def read(self, page: Path) -> None:
        """Run all blocks of a page in a folder of its own."""
        reader = self.reader(page.stem)
        reader.clear(RUN[page])
        try:
            for block in RUN[page]:
                reader.run(block)
        finally:
            reader.close()
            shutil.rmtree(reader.folder)

    def reader(self, name: str) -> PageReader:
        folder = self.folder / f"{name}-{uuid4().hex[:6]}"
        shutil.copytree(self.furnished, folder, symlinks=True)
        return PageReader(folder)


@pytest.fixture(scope="module")
def desk(
    demo: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Desk]:
    furnished = furnish(tmp_path_factory.mktemp("furnished"), demo)
    desk = Desk(furnished, tmp_path_factory.mktemp("clones"))
    chosen = [item.callspec.params["page"] for item in request.session.items if is_of_page(item)]
    with ThreadPoolExecutor(os.cpu_count()) as readers:
        desk.readings = {page: readers.submit(desk.read, page) for page in chosen}
        yield desk


def is_of_page(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and item.originalname == PAGE_TEST


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_of_a_page_does_what_it_says(desk: Desk, page: Path) -> None:
    desk.readings[page].result()


def test_a_command_that_fails_is_told_with_its_page_and_line(desk: Desk) -> None:
    wrong = Block("a.md", 7, "bash", "python -m index_builder inspect nowhere\n", None)
    with pytest.raises(AssertionError, match=r"a\.md:7"):
        desk.reader("wrong").run(wrong)
