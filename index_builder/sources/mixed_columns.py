"""Metadata columns with values of several types, which a filter cannot compare."""

from collections.abc import Mapping
from typing import Any

from model.console import warn

__all__ = ["MixedColumns"]

_SHOWN_LENGTH = 40


class MixedColumns:
    """Notes the types of every column with the first place of each; holds a few words a column."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, _Kind]] = {}

    def look_at(self, place: str, metadata: Mapping[str, Any]) -> None:
        """Take the metadata of one more row into account."""
        for name, value in metadata.items():
            if value is not None:
                kinds = self._found.setdefault(name, {})
                kind = kinds.get(_kind_of(value))
                if kind is None:
                    kind = kinds[_kind_of(value)] = _Kind(place, value)
                kind.count += 1

    def warn(self) -> None:
        """Tell, of every column with several types, the first value that is not as most are."""
        for name, kinds in self._found.items():
            if len(kinds) < 2:
                continue
            _, *others = sorted(kinds.values(), key=lambda kind: -kind.count)
            count = sum(kind.count for kind in others)
            more = f" and {count - 1:,} more" if count > 1 else ""
            warn(
                f"column {name} has several types and cannot be filtered because of "
                f"{others[0].first_place}: {repr(others[0].first_value)[:_SHOWN_LENGTH]}{more}"
            )


class _Kind:
    """Values of one type in one column."""

    def __init__(self, first_place: str, first_value: Any) -> None:
        self.count = 0
        self.first_place = first_place
        self.first_value = first_value


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else type(value).__name__
