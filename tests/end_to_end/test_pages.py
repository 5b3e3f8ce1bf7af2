"""Every command of README, CONTRIBUTING and docs is run, page by page, as a reader would."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.page_reader import PageReader, furnish
from tests.page_blocks import PAGES, ROOT, Block, blocks_of

pytestmark = [pytest.mark.demo, pytest.mark.timeout(3600)]

RUNNABLE = ("bash", "python")
# Run by tests/test_api_page.py, which compares the answers too.
ELSEWHERE = {ROOT / "docs" / "api.md"}
RUN = {
    page: blocks
    for page in PAGES
    if page not in ELSEWHERE
    and (blocks := [one for one in blocks_of(page) if one.language in RUNNABLE and not one.not_run])
}


@pytest.fixture(scope="module")
def furnished(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnish(tmp_path_factory.mktemp("furnished"), demo)


@pytest.fixture
def reader(furnished: Path, tmp_path: Path) -> Iterator[PageReader]:
    folder = tmp_path / "clone"
    shutil.copytree(furnished, folder, symlinks=True)
    reader = PageReader(folder)
    yield reader
    reader.close()
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "blocks", RUN.values(), ids=[page.relative_to(ROOT).as_posix() for page in RUN]
)
def test_every_command_of_a_page_does_what_it_says(reader: PageReader, blocks: list[Block]) -> None:
    for block in blocks:
        reader.run(block)


def test_a_command_that_fails_is_told_with_its_page_and_line(reader: PageReader) -> None:
    wrong = Block("a.md", 7, "bash", "python -m index_builder inspect nowhere\n", None)
    with pytest.raises(AssertionError, match=r"a\.md:7"):
        reader.run(wrong)
