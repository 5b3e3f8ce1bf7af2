"""What is wrong with a source, told all at once and held in little memory."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model.errors import DataError

__all__ = ["SHOWN_PROBLEM_COUNT", "NotUtf8", "Problems", "Refusals", "is_unicode"]

SHOWN_PROBLEM_COUNT = 10


@dataclass
class _Shown:
    place: str
    problem: str
    again_count: int = 0

    def __str__(self) -> str:
        """Return it as a line."""
        again = f" (and {self.again_count:,} more like it)" if self.again_count else ""
        return f"{self.place}: {self.problem}{again}" if self.place else self.problem


class Problems:
    """Counts every problem of a source and keeps the first ten; one found again is told once.

    Args:
        description: What the source is called.
    """

    def __init__(self, description: str) -> None:
        self._description = description
        self._shown: list[_Shown] = []
        self.count = 0

    def add(self, problem: str) -> None:
        """Note one problem."""
        self.add_at("", problem)

    def add_at(self, place: str, problem: str) -> None:
        """Note one problem and where it is."""
        self.count += 1
        for shown in self._shown:
            if place and shown.problem == problem:
                shown.again_count += 1
                return
        if len(self._shown) < SHOWN_PROBLEM_COUNT:
            self._shown.append(_Shown(place, problem))

    def add_first(self, problem: str) -> None:
        """Note one problem that is shown before all others."""
        self.count += 1
        self._shown.insert(0, _Shown("", problem))
        del self._shown[SHOWN_PROBLEM_COUNT:]

    def count_more(self, count: int) -> None:
        """Note problems that are not going to be shown."""
        self.count += count

    def refuse(self) -> None:
        """Go on if there is none.

        Raises:
            DataError: There are some; the first ten are told.
        """
        if not self.count:
            return
        lines = "\n  ".join(map(str, self._shown))
        more = self.count - sum(1 + shown.again_count for shown in self._shown)
        rest = f"\n  and {more:,} more" if more > 0 else ""
        if self.count == 1:
            raise DataError(f"{self._description} has a problem; correct it:\n  {lines}")
        raise DataError(
            f"{self._description} has {self.count:,} problems; correct them:\n  {lines}{rest}"
        )


class Refusals:
    """What is wrong with several sources, told in one go; true where anything is."""

    def __init__(self) -> None:
        self._errors: list[DataError] = []

    def __bool__(self) -> bool:
        """Return whether a source was refused."""
        return bool(self._errors)

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Keep the refusal of one source, so that the next is looked at too."""
        try:
            yield
        except DataError as error:
            self._errors.append(error)

    def refuse(self) -> None:
        """Go on if there is none.

        Raises:
            DataError: There are some; all are told.
        """
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            raise DataError("\n".join(map(str, self._errors))) from self._errors[0]


class NotUtf8:
    """Counts the lines of a text file that are not UTF-8: one problem, however many there are.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._first_place = ""
        self._count = 0

    def add(self, place: str) -> None:
        """Note one line."""
        self._first_place = self._first_place or place
        self._count += 1

    def tell(self, problems: Problems) -> None:
        """Add the problem, if there is one."""
        if not self._count:
            return
        more = f", as are {self._count - 1:,} more" if self._count > 1 else ""
        name = shlex.quote(str(self._path))
        new = shlex.quote(str(self._path.with_name(f"utf8-{self._path.name}")))
        problems.add_first(
            f"{self._first_place}: not UTF-8 text{more}; save the file as UTF-8, from Latin-1 with "
            f"iconv -f latin1 -t utf8 {name} > {new}"
        )


def is_unicode(text: str) -> bool:
    """Return whether a text can be written as UTF-8: it came from no undecodable bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
