"""The examples of the pages: every fenced block, its language, and whether it says "not run here".

A block is marked by the line above it, which a reader sees too:

*Not run here: it needs a container engine.*
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Block", "blocks_of"]

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)\s*$")
_MARK = re.compile(r"^\*Not run here: (?P<reason>.+)\.\*$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: Its path from the root of the repository.
        line: Number of its first line.
        language: The word after the fence; empty where there is none.
        text: What stands between the fences.
        not_run: Why it is not run here; None where it is run.
    """

    page: str
    line: int
    language: str
    text: str
    not_run: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Its commands without comments, those that a backslash joins as one."""
        joined = self.text.replace("\\\n", " ")
        return [line for line in joined.splitlines() if line.strip() and line[0] != "#"]


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page, from top to bottom."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start: int | None = None
    for number, line in enumerate(lines):
        fence = _FENCE.match(line)
        if fence is None:
            continue
        if start is None:
            start, opened = number, fence
            continue
        indent = len(opened["indent"])
        text = "".join(f"{line[indent:]}\n" for line in lines[start + 1 : number])
        mark = _MARK.match(lines[start - 1].strip()) if start else None
        yield Block(
            page=page.relative_to(ROOT).as_posix(),
            line=start + 2,
            language=opened["language"],
            text=text,
            not_run=mark["reason"] if mark else None,
        )
        start = None
