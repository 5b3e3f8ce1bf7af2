"""Metadata and filters that hypothesis makes up, and a plain reading of what a filter fits."""

import operator
from typing import Any

from hypothesis import strategies as st

from index_builder.galleries.manifest import ColumnTypes
from index_builder.lookups.filters import And, Comparison, Filter, Not, Or

LARGE = 2**63
integers = st.one_of(
    st.integers(-3, 3),
    st.integers(-LARGE, LARGE - 1),
    st.sampled_from([2**53, 2**53 + 1, LARGE - 1, -LARGE]),
)
numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1.0, 1.5, 2.0**53, 2.0**63, -(2.0**63), 1e300]),
)
texts = st.one_of(st.sampled_from(["", "a", "A", "é", "e\u0301", "\0", "😀", "'; --"]), st.text())
SCALARS = {
    "boolean": st.booleans(),
    "integer": integers,
    "number": st.one_of(integers, numbers),
    "text": texts,
}
# What is asked may lie outside what a column can hold.
ASKED = {
    **SCALARS,
    "integer": st.one_of(integers, numbers, st.integers(-(2**80), 2**80)),
    "number": st.one_of(integers, numbers, st.integers(-(2**1000), 2**1000)),
}
# Names are data too.
COLUMNS = {
    "flag": "boolean", "year": "integer", 'si"ze': "number", "na'me; DROP TABLE columns": "text",
    "flags": "boolean_list", "counts": "integer_list", "weights": "number_list",
    "tags é": "text_list",
}  # fmt: skip


def values_of(kind: str) -> st.SearchStrategy[Any]:
    element = SCALARS[kind.removesuffix("_list")]
    value = st.lists(element | st.none(), max_size=4) if kind.endswith("_list") else element
    return st.none() | value


rows = st.fixed_dictionaries({}, optional={name: values_of(kind) for name, kind in COLUMNS.items()})


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    name = draw(st.sampled_from(sorted(COLUMNS)))
    element = COLUMNS[name].removesuffix("_list")
    operators = ["eq", "ne", "in", "not_in"]
    if element == COLUMNS[name] and element != "boolean":
        operators += ["lt", "lte", "gt", "gte"]
    chosen = draw(st.sampled_from(operators))
    asked = ASKED[element]
    if chosen in ("in", "not_in"):
        return Comparison(name, chosen, tuple(draw(st.lists(asked, max_size=4))))
    return Comparison(name, chosen, draw(asked | st.none() if chosen in ("eq", "ne") else asked))


filters: st.SearchStrategy[Filter] = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: And(tuple(parts))),
        st.lists(inner, max_size=3).map(lambda parts: Or(tuple(parts))),
        inner.map(Not),
    ),
    max_leaves=8,
)


def types_of(metadata: list[dict[str, Any]]) -> dict[str, Any]:
    """The types of columns as a gallery of these items would have them."""
    columns = ColumnTypes()
    for each in metadata:
        columns.add(each)
    return columns.types()


def fits(wanted: Filter, metadata: dict[str, Any], *, is_opposite: bool = False) -> bool:
    """Whether an item fits, by the words of the docs; of `not`, whether it fits the opposite."""
    if isinstance(wanted, Not):
        return fits(wanted.part, metadata, is_opposite=not is_opposite)
    if isinstance(wanted, And | Or):
        parts = [fits(part, metadata, is_opposite=is_opposite) for part in wanted.parts]
        return all(parts) if isinstance(wanted, And) != is_opposite else any(parts)
    value = metadata.get(wanted.column)
    if wanted.value is None:
        return (value is None) == ((wanted.operator == "eq") != is_opposite)
    if value is None:
        return False
    return _holds(wanted, value) != is_opposite


def _holds(wanted: Comparison, value: Any) -> bool:
    if wanted.operator in ("lt", "lte", "gt", "gte"):
        compare = {"lt": "lt", "lte": "le", "gt": "gt", "gte": "ge"}[wanted.operator]
        # Texts by their code points.
        return getattr(operator, compare)(value, wanted.value)
    found = value if isinstance(value, list) else [value]
    asked = wanted.value if isinstance(wanted.value, tuple) else (wanted.value,)
    has_any = any(each == other for each in found if each is not None for other in asked)
    return has_any if wanted.operator in ("eq", "in") else not has_any
