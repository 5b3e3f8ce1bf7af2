"""The only place that prints: results on stdout, everything else on stderr.

Bars and colour appear on a terminal alone; elsewhere a bar is one line at its end.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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

__all__ = ["ProgressBar", "progress", "result", "result_json", "say", "table", "warn"]


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


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on stdout: the first column to the left, the others to the right."""
    drawn = Table(box=None, pad_edge=False)
    for place, column in enumerate(columns):
        drawn.add_column(column, justify="left" if place == 0 else "right")
    for row in rows:
        drawn.add_row(*(str(cell) for cell in row))
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        # A pipe has no width of its own; a table must not be folded to 80 columns there.
        console = Console(file=sys.stdout, highlight=False, width=200)
    # Not the table's own title: that one is folded to the width of the columns.
    console.print(title, style="bold")
    console.print(drawn)


class ProgressBar:
    """A running bar: `advance` counts items, `note` shows a short text behind the bar."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        """Wrap a task of a rich progress display."""
        self._bar = bar
        self._task = task
        self.done_count = 0

    def advance(self, count: int = 1) -> None:
        """Count `count` more items as done."""
        self.done_count += count
        self._bar.advance(self._task, count)

    def note(self, text: str) -> None:
        """Show `text` behind the bar."""
        self._bar.update(self._task, note=text)


@contextmanager
def progress(description: str, total: int | None, unit: str = "items") -> Iterator[ProgressBar]:
    """Yield a bar over `total` items with items/s and the time left, drawn on stderr."""
    console = Console(file=sys.stderr, highlight=False)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    started = time.monotonic()
    with bar:
        task = bar.add_task(description, total=total, rate="", note="")
        running = _RatedBar(bar, task, started, unit)
        yield running
    seconds = max(time.monotonic() - started, 1e-6)
    count = running.done_count
    if total != 0:
        say(f"{description}  {count:,} {unit} in {seconds:.1f} s ({count / seconds:.1f} {unit}/s)")


class _RatedBar(ProgressBar):
    """A bar that shows its own mean rate."""

    def __init__(self, bar: Progress, task: TaskID, started: float, unit: str) -> None:
        super().__init__(bar, task)
        self._started = started
        self._unit = unit

    def advance(self, count: int = 1) -> None:
        super().advance(count)
        rate = self.done_count / max(time.monotonic() - self._started, 1e-6)
        self._bar.update(self._task, rate=f"{rate:.1f} {self._unit}/s")
