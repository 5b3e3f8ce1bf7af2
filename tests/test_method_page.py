"""docs/method.md speaks of this code: every name, setting, command line and test on it exists."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from model.command_line import load_settings
from model.errors import ConfigError
from model.training.ablation import ABLATIONS, read_rows
from model.training.report.published import published_table
from model.training.train import Train

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/method.md").read_text(encoding="utf-8")
CODE = sorted((ROOT / "model").rglob("*.py"))
ROWS = read_rows(ABLATIONS)
ABLATION_TABLE = "Every ablation is one line"


def section(heading: str) -> str:
    """Return the text below a heading of the page, up to the next one."""
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of the tables' rows, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = [place for place, row in enumerate(cells) if set(row[0]) == {"-"}]
    return [row for i, row in enumerate(cells) if i not in heads and i + 1 not in heads]


def spans(text: str) -> list[str]:
    """Return what stands in backticks, formulas aside."""
    return re.findall(r"`([^`]+)`", re.sub(r"\$`.*?`\$", "", text))


def units(text: str) -> list[str]:
    """Return table rows, list items and paragraphs, blocks aside; names belong to files beside."""
    without_blocks = re.sub(r"^```.*?^```$", "\n", text, flags=re.DOTALL | re.MULTILINE)
    return re.split(r"\n\s*\n|\n(?=[|-])", without_blocks)


@cache
def names_in(path: Path) -> frozenset[str]:
    """Return what a file defines: `function`, `Class`, `Class.field`, `Class.method`."""
    found: set[str] = set()

    def visit(body: list[ast.stmt], owner: str) -> None:
        for node in body:
            match node:
                case ast.ClassDef(name=name, body=inner):
                    found.add(owner + name)
                    visit(inner, f"{owner}{name}.")
                case ast.FunctionDef(name=name):
                    found.add(owner + name)
                case ast.AnnAssign(target=ast.Name(id=name)):
                    found.add(owner + name)

    visit(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return frozenset(found)


def is_setting(name: str) -> bool:
    """Return whether a dotted name is a setting of `train`."""
    fields = Train.model_fields
    *sections, last = name.split(".")
    for part in sections:
        kind = fields[part].annotation if part in fields else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return False
        fields = kind.model_fields
    return bool(sections) and last in fields


def problem(span: str, files: list[Path]) -> str | None:
    """Return what is wrong with a span that stands beside the names of `files`."""
    if span.startswith("python -m "):
        module, command = span.split()[2:4]
        main = ROOT / module.replace(".", "/") / "__main__.py"
        return None if f'"{command}": ' in main.read_text(encoding="utf-8") else "no such command"
    if span.startswith("--"):
        try:
            load_settings("train", Train, span.split())
        except ConfigError as error:
            return str(error)
        return None
    path, _, test = span.partition("::")
    if "/" in path:
        if not (ROOT / path).is_file():
            return "no such file"
        return None if not test or test in names_in(ROOT / path) else "no such test"
    if is_setting(span) or span == "metrics.json" or span in {row.name for row in ROWS}:
        return None
    return None if any(span in names_in(file) for file in files or CODE) else "not defined there"


def problems(text: str) -> list[str]:
    """Return what is wrong with the spans of a text."""
    found = []
    for unit in units(text):
        named = [ROOT / s for s in spans(unit) if re.fullmatch(r"(model|tests)/[\w/]+\.py", s)]
        files = [path for path in named if path.is_file()]
        for span in spans(unit):
            if span != "--help" and (wrong := problem(span, files)) is not None:
                found.append(f"{span}: {wrong}")
    return found


def test_every_name_on_the_page_is_in_the_file_beside_it() -> None:
    assert len(spans(PAGE)) > 80
    assert problems(PAGE) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "`model/no_such_file.py`",
        "`align` in `model/metrics.py`",
        "`no_such_name`",
        "`Alignment.no_such_field` in `model/alignment.py`",
        "`instance_level.no_such_setting`",
        "`no_such_section.top_k`",
        "`--instance-level.mechanism sideways`",
        "`--no-such-flag`",
        "`python -m model.training fly`",
        "`tests/test_method_page.py::test_no_such_test`",
    ],
)
def test_a_wrong_name_is_told(wrong: str) -> None:
    assert len(problems(f"Before.\n\n- {wrong}\n\n`align` in `model/alignment.py`.")) == 1


def test_the_ablation_table_is_the_one_that_is_run() -> None:
    def computed(flags: list[str]) -> dict[str, Any]:
        return load_settings("train", Train, flags).what_is_computed()

    lines = {spans(row[0])[0]: spans(row[1])[0] for row in rows(section(ABLATION_TABLE))}
    run = {row.name: row.flags() for row in ROWS if row.flags()}
    assert {name: computed(line.split()) for name, line in lines.items()} == {
        name: computed(flags) for name, flags in run.items()
    }


@pytest.mark.parametrize(
    ("protocol", "place", "image_count", "fold_count"),
    [
        ("Flickr30K 1K", "f30k_precomp", 1000, 1),
        ("COCO 5K", "coco_precomp", 5000, 1),
        ("COCO 1K, five folds", "coco_precomp", 5000, 5),
    ],
)
def test_the_published_figures_are_those_of_the_report(
    protocol: str, place: str, image_count: int, fold_count: int
) -> None:
    (row,) = [row for row in rows(section("What the authors report")) if row[0] == protocol]
    table = published_table(
        Path(place), split="test", image_count=image_count, fold_count=fold_count
    )
    assert table is not None
    published = [str(row.rsum) for row in table.rows if row.rsum is not None]
    assert [cell for cell in row[1:] if cell != "-"] == published


def test_every_departure_is_explained_and_guarded_by_a_test() -> None:
    departures = section("Where it departs from the released code")
    for row in rows(departures):
        assert len(row) == 4 and all(row)
        assert any("::test_" in span for span in spans(row[3])), row[0]
    declared = {p.relative_to(ROOT).as_posix() for p in CODE if "Differs:" in p.read_text("utf-8")}
    assert declared <= set(spans(departures))
