"""What was looked at, and what was found: problems, and notes that are none."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from model.console import say
from model.errors import HremError

__all__ = ["Check", "Found", "Report"]

_SHOWN_COUNT = 5


@dataclass
class Check:
    """One thing that is looked at.

    Attributes:
        part: `index`, `checkpoint`, `images` or `captions`.
        name: What is looked at.
        looked_at: How much of it.
        problems: One sentence each, with what to do.
        notes: What could not be looked at, or is worth knowing.
    """

    part: str
    name: str
    looked_at: str = ""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Report:
    """All checks of one version.

    Attributes:
        version: That was verified; 0 where none can be read.
        checks: In the order in which they were made.
    """

    version: int = 0
    checks: list[Check] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """The sentences of all checks."""
        return [problem for check in self.checks for problem in check.problems]

    @contextmanager
    def check(self, part: str, name: str) -> Iterator[Check]:
        """Yield a new check; whatever foreseen failure ends it is a problem that it found."""
        say(f"verifying  {part}: {name}")
        check = Check(part, name)
        self.checks.append(check)
        try:
            yield check
        except HremError as error:
            check.problems.append(str(error))
        except (OSError, sqlite3.Error, RuntimeError) as error:  # FAISS raises the last
            check.problems.append(
                f"{part}: {name} cannot be looked at to the end ({error}); is the disk sound?"
            )


class Found:
    """Counts things and keeps the first few, to tell of any number of them in one sentence."""

    def __init__(self, things: Iterable[object] = ()) -> None:
        """Begin with some."""
        self.count = 0
        self._first: list[object] = []
        self.add(things)

    def add(self, things: Iterable[object]) -> None:
        """Count some more."""
        for thing in things:
            self.count += 1
            if len(self._first) < _SHOWN_COUNT:
                self._first.append(thing)

    def __str__(self) -> str:
        """Return the first few, and the number of all where there are more."""
        shown = ", ".join(map(str, self._first))
        return shown if self.count <= _SHOWN_COUNT else f"{shown} ... {self.count:,} in all"
