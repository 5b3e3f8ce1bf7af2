"""What is wrong with a filter: columns that there are not, values that a column cannot have."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from index_builder.galleries.manifest import ColumnType
from index_builder.lookups.filters import (
    MAX_VALUES,
    And,
    Comparison,
    Filter,
    Not,
    Or,
    Place,
)
from index_builder.sources.problems import is_unicode
from model.errors import HremError

__all__ = ["FilterError", "FilterProblem", "ProblemCode", "filter_problems"]

ProblemCode = Literal[
    "malformed_filter", "unknown_column", "unknown_operator", "wrong_type", "too_deep",
    "too_many_leaves", "too_many_values",
]  # fmt: skip
_SHOWN_CHARACTERS = 40
_SHOWN_COLUMNS = 20
# As large as a JSON number may be everywhere.
_MOST_BITS = 1024
_ORDERED = ("lt", "lte", "gt", "gte")
# What a scalar type, or an element of a list type, is called, and what fits it.
_NAMES: Mapping[str, str] = {
    "boolean": "true or false",
    "integer": "a number",
    "number": "a number",
    "text": "a text",
}


@dataclass(frozen=True, slots=True)
class FilterProblem:
    """One thing that is wrong with a filter.

    Attributes:
        place: Keys and positions that lead to it from the top of the filter.
        code: Stable name of what is wrong.
        message: What was found, what was expected.
    """

    place: Place
    code: ProblemCode
    message: str

    @property
    def where(self) -> str:
        """The place in one word, such as `and[0].year.gte`."""
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.place)
        return "".join(steps).removeprefix(".")


class FilterError(HremError):
    """A filter cannot be used.

    Attributes:
        problems: Every single thing that is wrong with it.
    """

    def __init__(self, problems: list[FilterProblem]) -> None:
        """Keep every problem, so that all are told at once."""
        self.problems = problems
        super().__init__("; ".join(f"{each.where}: {each.message}" for each in problems))


def filter_problems(given: Filter, columns: Mapping[str, ColumnType]) -> list[FilterProblem]:
    """Return everything that is wrong with a filter, in its order; none if it can be used.

    Args:
        given: The filter.
        columns: Names and types, as the manifest of a gallery has them.
    """
    return [
        problem
        for comparison in _comparisons(given)
        for problem in _problems_of(comparison, columns)
    ]


def _comparisons(given: Filter) -> Iterator[Comparison]:
    if isinstance(given, Comparison):
        yield given
    elif isinstance(given, Not):
        yield from _comparisons(given.part)
    elif isinstance(given, And | Or):
        for part in given.parts:
            yield from _comparisons(part)


def _problems_of(
    comparison: Comparison, columns: Mapping[str, ColumnType]
) -> Iterator[FilterProblem]:
    name, operator, value, place = (
        comparison.column, comparison.operator, comparison.value, comparison.place
    )  # fmt: skip
    if name not in columns:
        shown = ", ".join(sorted(columns)[:_SHOWN_COLUMNS])
        more = f" and {len(columns) - _SHOWN_COLUMNS} more" if len(columns) > _SHOWN_COLUMNS else ""
        there = f"there are {shown}{more}" if columns else "there are none"
        message = f"no metadata column {_shown(name)} in the searched gallery; {there}"
        yield FilterProblem(place[:-1], "unknown_column", message)
        return
    column = f"column {_shown(name)} is {_article(columns[name])}"
    if columns[name] == "json":
        message = f"{column}: its values are of several types and cannot be compared"
        yield FilterProblem(place[:-1], "wrong_type", message)
        return
    element = columns[name].removesuffix("_list")
    if operator in _ORDERED and (element != columns[name] or element == "boolean"):
        message = f"{column}: it takes eq, ne, in and not_in, not {operator}"
        yield FilterProblem(place, "wrong_type", message)
        return
    if operator not in ("in", "not_in"):
        if value is None and operator in _ORDERED:
            message = f"{column}: nothing is before or after null; use eq or ne"
            yield FilterProblem(place, "wrong_type", message)
        elif value is not None and not _fits(value, element):
            message = f"{column}: expected {_NAMES[element]}, found {_shown(value)}"
            yield FilterProblem(place, "wrong_type", message)
        return
    if not isinstance(value, tuple):
        message = f"{operator} takes a list of values, found {_shown(value)}"
        yield FilterProblem(place, "wrong_type", message)
        return
    if len(value) > MAX_VALUES:
        message = f"{len(value):,} values; at most {MAX_VALUES:,} are allowed"
        yield FilterProblem(place, "too_many_values", message)
        return
    for position, each in enumerate(value):
        if each is None:
            message = f'{column}: null is no value of a list; add {{"eq": null}} with or'
            yield FilterProblem((*place, position), "wrong_type", message)
        elif not _fits(each, element):
            message = f"{column}: expected {_NAMES[element]}, found {_shown(each)}"
            yield FilterProblem((*place, position), "wrong_type", message)


def _fits(value: Any, element: str) -> bool:
    # true is not 1: a boolean is an int only to Python.
    if element == "boolean" or isinstance(value, bool):
        return element == "boolean" and isinstance(value, bool)
    if element == "text":
        return isinstance(value, str) and is_unicode(value)
    if isinstance(value, int):
        return value.bit_length() <= _MOST_BITS
    return isinstance(value, float) and math.isfinite(value)


def _article(column_type: str) -> str:
    words = column_type.replace("_", " ")
    if words.endswith(" list"):
        return f"a list of {words.removesuffix(' list')} values"
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words} column"


def _shown(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"a number of {value.bit_length():,} bits"
    if isinstance(value, tuple):
        return "a list"
    shown = ascii(value) if isinstance(value, str) and not is_unicode(value) else repr(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}..."
