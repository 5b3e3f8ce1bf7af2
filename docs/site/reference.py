"""Writes the reference pages while the site is built; nothing of them is kept.

Commands and settings come from the classes that read them, Python from the docstrings; the page
of the REST API is `rest.py`'s. `mkdocs.yml` runs this file (mkdocs-gen-files).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

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
        "* [REST](rest.md)",
        "* Python",
        *write_python(),
    ],
)
