"""The only place that prints: results on stdout, everything else on stderr.

Bars and colour appear on a terminal alone; elsewhere a bar is a line a minute and one at its end.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

__all__ = ["ProgressBar", "counted", "progress", "result", "result_json", "say", "table", "warn"]


# Between two lines of a bar that nobody sees.
_SILENCE_S = 60.0


def say(line: str) -> None:
    """Print one line of progress on stderr."""
    print(line, file=sys.stderr, flush=True)


def warn(line: str) -> None:
    """Print one warning on stderr."""
    say(f"warning: {line}")


def result(text: str) -> None:
    """Print a result on stdout."""
    print(text, flush=True)


def result_json(value: Any) -> None:
    """Print one JSON object on stdout."""
    result(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def counted(count: int, plural: str) -> str:
    """Return "1 image" or "2,000 images"."""
    return f"{count:,} {plural if count != 1 else plural.removesuffix('s')}"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on stdout: the first column to the left, the others to the right."""
    drawn = Table(box=None, pad_edge=False)
    for place, column in enumerate(columns):
        drawn.add_column(column, justify="left" if place == 0 else "right")
    for row in rows:
        drawn.add_row(*(str(cell) for cell in row))
    # Cells hold names and captions of users: brackets and colons in them are text.
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        # A pipe has no width of its own; a table must not be folded to 80 columns there.
        console.width = 200
    # Not the table's own title: that one is folded to the width of the columns.
    console.print(title, style="bold")
    console.print(drawn)


class ProgressBar:
    """A running bar with its mean rate: `advance` counts items, `note` shows a text behind it."""

    def __init__(self, bar: Progress, task: TaskID, unit: str) -> None:
        """Wrap a task of a rich progress display; its time begins now."""
        self._bar = bar
        self._task = task
        self._unit = unit
        self._started = time.monotonic()
        self._told = self._started
        self._note = ""
        self.done_count = 0

    @property
    def seconds(self) -> float:
        """Time since it began, never 0."""
        return max(time.monotonic() - self._started, 1e-6)

    @property
    def rate(self) -> str:
        """Items a second, with their unit."""
        return f"{self.done_count / self.seconds:.1f} {self._unit}/s"

    def advance(self, count: int = 1) -> None:
        """Count `count` more items as done."""
        self.done_count += count
        self._bar.update(self._task, advance=count, rate=self.rate)
        if self._bar.disable and time.monotonic() - self._told >= _SILENCE_S:
            self._told = time.monotonic()
            self._tell()

    def note(self, text: str) -> None:
        """Show `text` behind the bar."""
        self._note = text
        self._bar.update(self._task, note=text)

    def _tell(self) -> None:
        """Print what the bar would show, for whoever reads a log."""
        task = self._bar.tasks[self._task]
        parts = [task.description, f"{self.done_count:,} {self._unit}", self._note, self.rate]
        if task.total:
            parts[1] = f"{self.done_count:,}/{task.total:,.0f} {self._unit}"
            left = max(0.0, task.total - self.done_count) * self.seconds / max(1, self.done_count)
            parts.append(f"{timedelta(seconds=round(left))} left")
        say("  ".join(part for part in parts if part))


@contextmanager
def progress(description: str, total: int | None, unit: str = "items") -> Iterator[ProgressBar]:
    """Yield a bar over `total` items with items/s and the time left, drawn on stderr."""
    console = Console(file=sys.stderr, highlight=False)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with bar:
        running = ProgressBar(bar, bar.add_task(description, total=total, rate="", note=""), unit)
        yield running
    if total != 0:
        say(
            f"{description}  {running.done_count:,} {unit} in {running.seconds:.1f} s "
            f"({running.rate})"
        )
