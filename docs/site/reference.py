"""Writes the reference pages while the site is built; nothing of them is kept.

Commands and settings come from the classes that read them, REST from the committed OpenAPI
document, Python from the docstrings. `mkdocs.yml` runs this file (mkdocs-gen-files).
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mkdocs_gen_files

from index_builder.__main__ import COMMANDS as INDEX_COMMANDS
from model.command_line import Command
from model.setting import list_settings
from model.training.__main__ import COMMANDS as TRAINING_COMMANDS
from service.config import ServiceConfig

ROOT = Path(__file__).parents[2]
PROGRAMS: dict[str, Mapping[str, type[Command]]] = {
    "model.training": TRAINING_COMMANDS,
    "index_builder": INDEX_COMMANDS,
    "service": {"": ServiceConfig},
}
# A page of the Python reference, and the folders whose public modules it shows.
PYTHON = {
    "model": ("model", "model/encoders", "model/inputs", "model/data"),
    "model.training": ("model/training", "model/training/relation"),
    "index_builder": ("index_builder", "index_builder/galleries", "index_builder/index_folder"),
    "index_builder.lookups": ("index_builder/lookups", "index_builder/vector_index"),
    "index_builder.sources": ("index_builder/sources",),
    "service.client": ("service/client",),
}


def write_commands() -> Iterator[str]:
    """Write a page for each program; yield lines of the navigation."""
    for program, commands in PROGRAMS.items():
        page = f"commands/{program}.md"
        lines = [f"# `python -m {program}`"]
        for name, command in commands.items():
            lines += ["", *_command(f"python -m {program} {name}".strip(), command)]
        _write(page, lines)
        yield f"    * [python -m {program}]({page})"


def _command(line: str, command: type[Command]) -> Iterator[str]:
    yield f"## `{line}`"
    yield ""
    yield (command.__doc__ or "").strip()
    yield ""
    yield "| flag, environment | type | default | |"
    yield "|---|---|---|---|"
    for setting in list_settings(command):
        names = f"`{setting.flag}`"
        if setting.variable:
            names += f"<br>`{setting.variable}`"
        cells = (names, setting.kind, setting.default, setting.description)
        yield f"| {' | '.join(_cell(cell) for cell in cells)} |"
    yield ""
    yield "Examples:"
    yield ""
    yield "```bash"
    yield from command.examples
    yield "```"


def write_rest() -> Iterator[str]:
    """Write the page of all routes; yield its line of the navigation."""
    document = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    lines = [
        "# REST",
        "",
        "From [openapi.json](../openapi.json); in words: [the API](../api.md).",
        "",
    ]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            lines += [*_route(f"{method.upper()} {path}", route, document), ""]
    _write("rest.md", lines)
    yield "* [REST](rest.md)"


def _route(name: str, route: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    yield f"## `{name}`"
    yield ""
    yield route.get("description") or route["summary"]
    yield ""
    rows = [
        (f"`{one['name']}`", one["in"], one.get("description", ""))
        for one in route.get("parameters", [])
    ]
    for kind, body in route.get("requestBody", {}).get("content", {}).items():
        schema = _resolved(body.get("schema", {}), document)
        rows += [
            (f"`{field}`", kind, _resolved(about, document).get("description", ""))
            for field, about in schema.get("properties", {}).items()
        ] or [(kind, "body", schema.get("description", ""))]
    if rows:
        yield "| | in | |"
        yield "|---|---|---|"
        for row in rows:
            yield f"| {' | '.join(_cell(cell) for cell in row)} |"
        yield ""
    yield "| answer | |"
    yield "|---|---|"
    for status, answer in sorted(route["responses"].items()):
        yield f"| {status} | {_cell(_resolved(answer, document).get('description', ''))} |"


def _resolved(value: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """Follow a `$ref` within the document."""
    while "$ref" in value:
        found: Any = document
        for step in value["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        value = found
    return value


def write_python() -> Iterator[str]:
    """Write pages of public modules for mkdocstrings to fill; yield lines of the navigation."""
    for page, folders in PYTHON.items():
        lines = [f"# Python: `{page}`"]
        for folder in folders:
            for module in sorted((ROOT / folder).glob("*.py")):
                if module.stem == "__main__" or "__all__" not in module.read_text(encoding="utf-8"):
                    continue
                name = folder.replace("/", ".")
                name += "" if module.stem == "__init__" else f".{module.stem}"
                lines += ["", f"::: {name}"]
        _write(f"python/{page}.md", lines)
        yield f"    * [{page}](python/{page}.md)"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _write(page: str, lines: list[str]) -> None:
    with mkdocs_gen_files.open(f"reference/{page}", "w") as written:
        written.write("\n".join(lines) + "\n")


_write(
    "SUMMARY.md",
    [
        "* Commands and settings",
        *write_commands(),
        *write_rest(),
        "* Python",
        *write_python(),
    ],
)
