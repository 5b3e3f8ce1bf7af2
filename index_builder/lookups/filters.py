"""Filters: which items a search may find, by their metadata.

A filter is a tree of comparisons of one column each. A value that is missing, left out or null,
fits `eq null` and nothing else; so `not` turns every comparison below it into its opposite, instead
of taking what is left over:

    not (year lt 2000)         is  year gte 2000           a missing year fits neither
    not (tag in a, b)          is  tag not_in a, b
    not (x and y)              is  (not x) or (not y)
    not (year eq null)         is  year ne null            the year is known

On a list column `eq` and `in` fit if any element does, `ne` and `not_in` if none does; a list
without elements is not missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

__all__ = [
    "MAX_DEPTH",
    "MAX_LEAVES",
    "MAX_VALUES",
    "OPERATORS",
    "And",
    "Comparison",
    "Filter",
    "Not",
    "Operator",
    "Or",
    "Place",
    "Value",
    "positive",
]

MAX_DEPTH = 8
MAX_LEAVES = 64
MAX_VALUES = 1000

Operator = Literal["eq", "ne", "in", "not_in", "lt", "lte", "gt", "gte"]
OPERATORS: Final[tuple[Operator, ...]] = ("eq", "ne", "in", "not_in", "lt", "lte", "gt", "gte")
Value = bool | int | float | str | None
Place = tuple[str | int, ...]

_OPPOSITES: Final[Mapping[Operator, Operator]] = {
    "eq": "ne", "in": "not_in", "lt": "gte", "gt": "lte",
    "ne": "eq", "not_in": "in", "gte": "lt", "lte": "gt",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Comparison:
    """One column compared with one value, or with several.

    Attributes:
        column: Its name.
        operator: What must hold.
        value: One value; of `in` and `not_in` a tuple of them.
        place: Where it stands in what was sent, for people; tells no filter from another.
    """

    column: str
    operator: Operator
    value: Value | tuple[Value, ...]
    place: Place = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class And:
    """Fits if all parts do; without parts, always."""

    parts: "tuple[Filter, ...]"


@dataclass(frozen=True, slots=True)
class Or:
    """Fits if any part does; without parts, never."""

    parts: "tuple[Filter, ...]"


@dataclass(frozen=True, slots=True)
class Not:
    """Fits if the opposite of the part does."""

    part: "Filter"


Filter = Comparison | And | Or | Not


def positive(given: Filter, *, is_opposite: bool = False) -> Comparison | And | Or:
    """Return the same filter without `not`; filters that differ only in order are the same one.

    Args:
        given: The filter.
        is_opposite: Return its opposite.
    """
    if isinstance(given, Not):
        return positive(given.part, is_opposite=not is_opposite)
    if isinstance(given, Comparison):
        operator = _OPPOSITES[given.operator] if is_opposite else given.operator
        value = given.value
        if isinstance(value, tuple):
            value = tuple(sorted(set(value), key=repr))
        return Comparison(given.column, operator, value)
    kind = And if isinstance(given, And) != is_opposite else Or
    parts: set[Comparison | And | Or] = set()
    for part in given.parts:
        inner = positive(part, is_opposite=is_opposite)
        parts.update(inner.parts if isinstance(inner, kind) else (inner,))  # type: ignore[arg-type]
    if len(parts) == 1:
        return parts.pop()
    return kind(tuple(sorted(parts, key=repr)))
