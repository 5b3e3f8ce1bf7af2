"""Filters as they come over the wire: JSON becomes a tree, or every problem with its place.

    {"year": {"gte": 2010}, "tag": {"in": ["a", "b"]}}          several keys: all of them
    {"or": [{"year": {"eq": null}}, {"not": {"tag": {"eq": "a"}}}]}

Whether the gallery has such columns, and of such types, is asked later, when it is known which
gallery is searched (`index_builder/lookups/filter_checks.py`).
"""

from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from index_builder.lookups.filter_checks import FilterError, FilterProblem, ProblemCode
from index_builder.lookups.filters import (
    MAX_DEPTH,
    MAX_LEAVES,
    MAX_VALUES,
    OPERATORS,
    And,
    Comparison,
    Filter,
    Not,
    Or,
    Place,
)

__all__ = [
    "FILTER_FIELD_SCHEMA",
    "FILTER_SCHEMA",
    "PROBLEMS_OF_FILTER",
    "FilterOfJson",
    "read_filter",
]

PROBLEMS_OF_FILTER = "filter_problems"
_MOST_PROBLEMS = 100
_EXAMPLE = '{"year": {"gte": 2010}}'

_INNER = {"$ref": "#/components/schemas/Filter"}
_SCALAR = {"type": ["string", "number", "boolean", "null"]}
_SEVERAL = {
    "type": "array",
    "items": {"type": ["string", "number", "boolean"]},
    "maxItems": MAX_VALUES,
}
# For the OpenAPI document; pydantic has no part in reading a filter.
FILTER_SCHEMA: dict[str, Any] = {
    "title": "Filter",
    "description": "Which items may be found, by their metadata: columns with what must hold, "
    f"`and`, `or`, `not`; several keys = and. At most {MAX_DEPTH} deep and {MAX_LEAVES} "
    "comparisons. A missing value fits only `eq` null.",
    "type": "object",
    "properties": {
        "and": {"type": "array", "minItems": 1, "items": _INNER},
        "or": {"type": "array", "minItems": 1, "items": _INNER},
        "not": _INNER,
    },
    "additionalProperties": {
        "description": "a column with what must hold",
        "type": "object",
        "minProperties": 1,
        "properties": {
            operator: _SEVERAL if operator in ("in", "not_in") else _SCALAR
            for operator in OPERATORS
        },
        "additionalProperties": False,
    },
    "examples": [{"year": {"gte": 2010}, "tag": {"in": ["a", "b"]}}],
}
FILTER_FIELD_SCHEMA: dict[str, Any] = {
    "anyOf": [_INNER, {"type": "null"}],
    "default": None,
    "description": "what may be found; null = everything",
}


class FilterOfJson:
    """Annotates a field: pydantic reads it as a filter, and tells all problems at once.

    What it looks like stands in the OpenAPI document once for all searches.
    """

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Return how pydantic comes to a filter; the tree is nothing that it should look into."""
        return core_schema.no_info_plain_validator_function(_filter_field)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return a place for `FILTER_FIELD_SCHEMA`."""
        return {}


def _filter_field(sent: object) -> Filter | None:
    try:
        return read_filter(sent)
    except FilterError as error:
        raise PydanticCustomError(
            PROBLEMS_OF_FILTER, "the filter is not valid", {"problems": error.problems}
        ) from error


def read_filter(sent: object) -> Filter | None:
    """Return the filter that a JSON value stands for; None where it holds nothing back.

    Raises:
        FilterError: It is none, or too large; tells every problem.
    """
    if sent is None or sent == {}:
        return None
    reading = _Reading()
    found = reading.whole(sent, (), 1)
    if reading.problems or found is None:
        raise FilterError(reading.problems)
    return found


class _Reading:
    """Walks through one filter and gathers what is wrong with it."""

    def __init__(self) -> None:
        self.problems: list[FilterProblem] = []
        self._leaf_count = 0

    def whole(self, sent: object, place: Place, depth: int) -> Filter | None:
        """Return what an object of columns, `and`, `or` and `not` stands for."""
        if not isinstance(sent, dict) or not sent:
            message = f"expected an object such as {_EXAMPLE}, found {_kind_of(sent)}"
            self._refuse(place, "malformed_filter", message)
            return None
        if depth > MAX_DEPTH:
            self._refuse(place, "too_deep", f"nested more than {MAX_DEPTH} deep")
            return None
        parts: list[Filter | None] = []
        for name, value in sent.items():
            if self._is_full:
                break
            here = (*place, name)
            if name in ("and", "or"):
                parts.append(self._several(name, value, here, depth + 1))
            elif name == "not":
                part = self.whole(value, here, depth + 1)
                parts.append(None if part is None else Not(part))
            else:
                parts += self._comparisons(name, value, here)
        return _joined(And, parts)

    def _several(self, name: str, sent: object, place: Place, depth: int) -> Filter | None:
        if not isinstance(sent, list) or not sent:
            message = f"{name} takes a list of filters, found {_kind_of(sent)}"
            self._refuse(place, "malformed_filter", message)
            return None
        parts = []
        for position, each in enumerate(sent):
            if self._is_full:
                break
            parts.append(self.whole(each, (*place, position), depth))
        return _joined(And if name == "and" else Or, parts)

    def _comparisons(self, column: str, sent: object, place: Place) -> list[Filter | None]:
        if not isinstance(sent, dict) or not sent:
            message = f'expected operators such as {{"eq": ...}}, found {_kind_of(sent)}'
            self._refuse(place, "malformed_filter", message)
            return [None]
        return [
            self._comparison(column, operator, value, (*place, operator))
            for operator, value in sent.items()
        ]

    def _comparison(
        self, column: str, operator: str, sent: object, place: Place
    ) -> Comparison | None:
        self._leaf_count += 1
        if self._leaf_count > MAX_LEAVES:
            if self._leaf_count == MAX_LEAVES + 1:
                message = f"more than {MAX_LEAVES} comparisons"
                self._refuse((), "too_many_leaves", message)
            return None
        for known in OPERATORS:
            if operator == known:
                break
        else:
            message = f"no operator {operator[:40]!r}; there are {', '.join(OPERATORS)}"
            self._refuse(place, "unknown_operator", message)
            return None
        values: list[Any] = sent if isinstance(sent, list) else [sent]
        for position, each in enumerate(values):
            if isinstance(each, dict | list):
                inner = (*place, position) if isinstance(sent, list) else place
                message = f"expected a value, found {_kind_of(each)}"
                self._refuse(inner, "wrong_type", message)
                return None
        value: Any = tuple(values) if isinstance(sent, list) else values[0]
        return Comparison(column, known, value, place)

    @property
    def _is_full(self) -> bool:
        """Whether enough is told already; there may be a million more."""
        return self._leaf_count > MAX_LEAVES or len(self.problems) >= _MOST_PROBLEMS

    def _refuse(self, place: Place, code: ProblemCode, message: str) -> None:
        self.problems.append(FilterProblem(place, code, message))


def _joined(kind: type[And] | type[Or], parts: list[Filter | None]) -> Filter | None:
    """Return all parts as one filter; None if one of them could not be read."""
    read = tuple(part for part in parts if part is not None)
    if len(read) != len(parts):
        return None
    return read[0] if len(read) == 1 else kind(read)


def _kind_of(sent: object) -> str:
    if isinstance(sent, dict):
        return "an object" if sent else "an empty object"
    if isinstance(sent, list):
        return "a list" if sent else "an empty list"
    return "null" if sent is None else type(sent).__name__
