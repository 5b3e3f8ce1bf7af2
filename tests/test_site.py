"""The site of the documentation: built from an empty folder, whole, and complete by itself."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from index_builder.__main__ import COMMANDS as INDEX_COMMANDS
from model.command_line import Command
from model.setting import list_settings
from model.training.__main__ import COMMANDS as TRAINING_COMMANDS
from service.config import ServiceConfig
from service.problems import PROBLEMS

ROOT = Path(__file__).parents[1]
PROGRAMS: dict[str, Mapping[str, type[Command]]] = {
    "model.training": TRAINING_COMMANDS,
    "index_builder": INDEX_COMMANDS,
    "service": {"": ServiceConfig},
}


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


def test_no_stylesheet_loads_from_elsewhere(site: Path) -> None:
    sheets = list(site.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        text = sheet.read_text(encoding="utf-8")
        named = re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)", text)
        assert named == [], sheet.name


def sections(page: Path) -> dict[str, str]:
    """Return the parts of a page by the name in their heading of the second level."""
    _, *parts = re.split(r"<h2 id=\"[^\"]*\">", page.read_text(encoding="utf-8"))
    return {re.sub(r"<[^>]+>|¶|&para;", "", part.split("</h2>")[0]): part for part in parts}


def test_every_setting_of_every_command_is_under_that_command(site: Path) -> None:
    for program, commands in PROGRAMS.items():
        shown = sections(site / "reference" / "commands" / f"{program}.html")
        for name, command in commands.items():
            part = shown[f"python -m {program} {name}".strip()]
            settings = list(list_settings(command))
            assert len(settings) > 3
            names = {one for setting in settings for one in (setting.flag, setting.variable) if one}
            assert {one for one in names if f"<code>{one}</code>" not in part} == set(), name


def test_every_route_is_in_the_reference_with_its_answers(site: Path) -> None:
    document = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    shown = sections(site / "reference" / "rest.html")
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            part = shown[f"{method.upper()} {path}"]
            assert {one for one in route["responses"] if f"<td>{one}</td>" not in part} == set()


def test_every_field_of_every_object_is_in_the_reference(site: Path) -> None:
    document = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    objects = sections(site / "reference" / "rest.html")["Objects"]
    for name, schema in document["components"]["schemas"].items():
        part = objects.split(f'<h3 id="{name}">')[1].split("<h3 ")[0]
        fields = set(schema.get("properties", ()))
        assert {one for one in fields if f"<td><code>{one}</code></td>" not in part} == set(), name


def test_every_problem_code_is_in_the_reference_with_its_status(site: Path) -> None:
    codes = sections(site / "reference" / "rest.html")["Problem codes"]
    for code, (status, _) in PROBLEMS.items():
        assert re.search(rf"<code>{code}</code></td>\s*<td>{status}</td>", codes), code


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
