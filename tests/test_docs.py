"""What the documents say can be found: links, files, targets and words."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
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
    code = "\n".join([*re.findall(r"`([^`]+)`", text), *re.findall(r"^    .*$", text, re.M)])
    named = re.findall(r"\bmake ((?:[a-z-]+ ?)+)", code)
    assert {target for line in named for target in line.split()} <= targets


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
