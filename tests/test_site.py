"""The site of the documentation: built from an empty folder, whole, and complete by itself."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from index_builder.__main__ import COMMANDS as INDEX_COMMANDS
from model.setting import list_settings
from model.training.__main__ import COMMANDS as TRAINING_COMMANDS
from service.config import ServiceConfig

ROOT = Path(__file__).parents[1]
COMMANDS = [*TRAINING_COMMANDS.values(), *INDEX_COMMANDS.values(), ServiceConfig]


class Page(HTMLParser):
    """What a page of the site links to, loads, and can be jumped to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = {"", "__top"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {given[name] or "" for name in ("id", "name") if name in given}
        target = given.get("href") or given.get("src")
        if target is None:
            return
        is_page = tag == "a" or given.get("rel") in ("prev", "next", "canonical")
        (self.links if is_page else self.loaded).append(target)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "properdocs", "build", "--strict", "-f", "mkdocs.yml", "-d", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}


def inner(targets: list[str]) -> Iterator[tuple[str, str]]:
    for target in targets:
        if not re.match(r"[a-z]+:|//", target):
            path, anchor = urldefrag(target)
            yield unquote(path), unquote(anchor)


def test_every_link_leads_to_a_page_and_a_place_in_it(pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for target, anchor in inner(page.links):
            place = (path.parent / target).resolve() if target else path
            is_there = place.is_file() and (
                place.suffix != ".html" or anchor in pages[place].anchors
            )
            if not is_there:
                broken.append(f"{path.name}: {target}#{anchor}")
    assert len(pages) > 30
    assert broken == []


def test_nothing_is_loaded_from_elsewhere_and_all_that_is_loaded_is_there(
    pages: dict[Path, Page],
) -> None:
    foreign = {one for page in pages.values() for one in page.loaded if re.match(r"\w+:|//", one)}
    assert {one for one in foreign if not one.startswith("data:")} == set()
    for path, page in pages.items():
        for target, _ in inner(page.loaded):
            assert (path.parent / target).exists(), f"{path.name} loads {target}"


def test_every_setting_of_every_command_is_in_the_reference(site: Path) -> None:
    text = "".join(
        path.read_text(encoding="utf-8") for path in (site / "reference" / "commands").iterdir()
    )
    shown = set(re.findall(r"<code>(--[\w.-]+|HREM_\w+)</code>", text))
    settings = [setting for command in COMMANDS for setting in list_settings(command)]
    wanted = {name for one in settings for name in (one.flag, one.variable) if name}
    assert len(wanted) > 100
    assert wanted <= shown


def test_every_route_is_in_the_reference(site: Path) -> None:
    document = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    text = (site / "reference" / "rest.html").read_text(encoding="utf-8")
    routes = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
    }
    assert {route for route in routes if f"<code>{route}</code>" not in text} == set()


def test_the_reference_of_python_shows_what_users_touch(site: Path) -> None:
    folder = site / "reference" / "python"
    for page, name in {
        "model": "model.hrem.HREM.encode_captions",
        "model.training": "model.training.losses.matching_loss",
        "index_builder": "index_builder.build.build_index",
        "service.client": "service.client.SearchClient",
    }.items():
        assert f'id="{name}"' in (folder / f"{page}.html").read_text(encoding="utf-8"), name


def test_formulas_are_set_and_not_shown_as_code(site: Path) -> None:
    page = (site / "method.html").read_text(encoding="utf-8")
    assert page.count('display="block"') >= 9
    assert "\\ell" not in page
