"""`.jsonl`: one JSON object a line; blank lines do not count."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from index_builder.sources.problems import Problems, is_unicode
from index_builder.sources.row import Row
from index_builder.sources.text_lines import text_lines

__all__ = ["JsonLines", "json_list", "json_object"]


@dataclass(frozen=True)
class JsonLines:
    """The rows of a `.jsonl` file; every row has columns of its own.

    Attributes:
        path: The file.
    """

    path: Path

    def names(self) -> None:
        """Return None: there is no header."""

    def rows(self, problems: Problems) -> Iterator[Row]:
        """Yield the rows; lines that hold none are problems.

        Raises:
            DataError: The file cannot be read.
        """
        for place, line in text_lines(self.path, problems):
            if not line.strip():
                continue
            try:
                yield Row(place, json_object(line))
            except ValueError as error:
                problems.add_at(place, str(error))


def json_object(text: str | bytes) -> dict[str, Any]:
    """Return the object that a JSON text holds, with nothing in it that JSON cannot write again.

    Raises:
        ValueError: It is something else; says what.
    """
    value = _json(text)
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    return value


def json_list(text: str) -> list[Any]:
    """Return the list that a JSON text holds, likewise.

    Raises:
        ValueError: It is something else; says what.
    """
    value = _json(text)
    if not isinstance(value, list):
        raise ValueError("expected a JSON list")
    return value


def _json(text: str | bytes) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8 text") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if _may_hold_half_a_pair(text) and not is_unicode(json.dumps(value, ensure_ascii=False)):
        raise ValueError("not JSON: half of a surrogate pair is no character")
    return value


def _may_hold_half_a_pair(text: str | bytes) -> bool:
    pattern = r"\\u[dD]"
    return bool(
        re.search(pattern, text) if isinstance(text, str) else re.search(pattern.encode(), text)
    )


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"{digits[:20]} is too large a number")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
