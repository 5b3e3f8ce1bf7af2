"""What the documents say can be found: links, files, targets and words."""

import re
from xml.etree import ElementTree

import pytest

from tests.page_blocks import PAGES as DOCUMENTS
from tests.page_blocks import ROOT, blocks_of

CODE = [p for f in ("model", "index_builder", "service") for p in (ROOT / f).rglob("*.py")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_to_a_file_resolves(document):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    broken = [
        link
        for link in links
        if not re.match(r"[a-z]+:", link) and not (document.parent / link).exists()
    ]
    assert not broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_make_target_that_is_named_exists(document):
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    text = document.read_text(encoding="utf-8")
    blocks = [block.text for block in blocks_of(document) if block.language == "bash"]
    code = "\n".join([*re.findall(r"`([^`\n]+)`", text), *blocks])
    named = re.findall(r"\bmake ((?:[a-z-]+ ?)+)", code)
    assert {target for line in named for target in line.split()} <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_a_patch_takes_away_is_there(document):
    """Whether the patched code works is tested by running the page, which takes minutes."""
    place = None
    for line in document.read_text(encoding="utf-8").splitlines():
        if line.startswith("--- a/"):
            place = line.removeprefix("--- a/")
        elif line == "PATCH":
            place = None
        elif place is not None and line.startswith("-"):
            assert line[1:] in (ROOT / place).read_text(encoding="utf-8").splitlines(), place


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_file_that_is_named_exists(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    paths = re.findall(r"`((?:model|index_builder|service|tests|docs)/[\w./-]+)`", text)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_word_of_ours_in_the_glossary_is_in_the_code():
    words = set()
    for line in (ROOT / "docs/glossary.md").read_text(encoding="utf-8").splitlines():
        cells = line.split("|")
        if len(cells) == 5:
            names = re.findall(r"`([\w.]+)`", cells[2])
            words |= {part for name in names for part in name.split(".") if part}
    assert len(words) > 30
    code = set(re.findall(r"\w+", "\n".join(path.read_text(encoding="utf-8") for path in CODE)))
    packages = {"model", "training", "relation"}
    # Words of prose that the code uses in the plural or as part of a name.
    missing = {w for w in words - packages if w not in code and f"{w}s" not in code}
    assert not missing


FIGURES = sorted((ROOT / "docs/figures").glob("*.mmd"))


@pytest.mark.parametrize("source", FIGURES, ids=lambda path: path.stem)
def test_a_figure_shows_every_label_of_its_source(source):
    drawing = ElementTree.parse(source.with_suffix(".svg"))
    # A long label is broken into several lines, each an element of its own.
    shown = "".join("".join(drawing.getroot().itertext()).split())
    labels = re.findall(r'"([^"]+)"', source.read_text(encoding="utf-8"))
    assert labels
    missing = [label for label in labels if "".join(label.split()) not in shown]
    assert missing == [], "make figures draws it again"


@pytest.mark.parametrize("source", FIGURES, ids=lambda path: path.stem)
def test_a_figure_is_shown_on_a_page(source):
    drawing = source.with_suffix(".svg").name
    assert any(f"figures/{drawing})" in page.read_text(encoding="utf-8") for page in DOCUMENTS)


BLOCKS = [block for page in DOCUMENTS for block in blocks_of(page)]
# The REST page has a test of its own (test_api_page.py) that tells its blocks by how they begin.
LABELLED = [block for block in BLOCKS if block.page != "docs/api.md"]
COMMAND = re.compile(
    r"^\s*(\$ |(\S*/)?python3? -m |make |docker|kubectl |curl |torchrun |pip )", re.M
)


def test_every_block_says_its_language():
    # A command without a label would not be run.
    assert [str(block) for block in LABELLED if not block.language] == []


def test_commands_stand_in_blocks_that_are_run():
    hidden = [
        str(block) for block in LABELLED if block.language != "bash" and COMMAND.search(block.text)
    ]
    assert hidden == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_block_is_made_by_indentation(document):
    outside = re.sub(
        r"^ *```.*?^ *```$", "", document.read_text(encoding="utf-8"), flags=re.M | re.S
    )
    assert re.findall(r"\n\n    \S.*", outside) == []


def test_at_most_ten_blocks_are_not_run_and_each_says_why():
    unrun = [block for block in BLOCKS if block.not_run]
    assert len(unrun) <= 10, [str(block) for block in unrun]
    assert all(len(block.not_run or "") > 10 for block in unrun)


def test_no_block_that_is_run_changes_the_machine():
    # Whoever runs the tests may be root.
    reaching = re.compile(
        r"\b(docker|kubectl|helm|systemctl|systemd-\w+|apt-get|useradd|sudo)\b|(^|\s)/(etc|opt|usr|var)/"
    )
    run = [block for block in BLOCKS if block.language == "bash" and not block.not_run]
    assert [str(block) for block in run if reaching.search(block.text)] == []
