"""How many inputs may be set aside before that is a failure, and the file that tells which."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from index_builder.galleries.manifest import GalleryKind
from index_builder.sources.entries import Rejection
from model.durable import write_lines
from model.errors import DataError

__all__ = [
    "REJECTED_FILE",
    "RejectionCount",
    "RejectionLimit",
    "rejected_by_code",
    "rejected_lines",
    "write_rejected",
]

REJECTED_FILE = "rejected.jsonl"

_LIMIT = re.compile(r"(\d+(?:\.\d+)?)\s*%|(\d+)")


@dataclass(frozen=True)
class RejectionLimit:
    """At most so many inputs, or such a share of them.

    Attributes:
        text: As it was written: `100` or `2.5%`.
    """

    text: str

    def __post_init__(self) -> None:
        """Refuse what is neither.

        Raises:
            ValueError: With one sentence.
        """
        found = _LIMIT.fullmatch(self.text.strip())
        if found is None or (found[1] is not None and float(found[1]) > 100):
            raise ValueError(f"{self.text!r} is no limit; write a number such as 100, or 2.5%")

    def most_of(self, count: int) -> int:
        """Return how many of `count` inputs may be set aside."""
        share, number = _LIMIT.fullmatch(self.text.strip()).groups()  # type: ignore[union-attr]
        # In decimals, as it was written: in floats 32.3% of 1,000 would be 322.
        return int(number) if number is not None else int(count * Decimal(share) / 100)


class RejectionCount:
    """Counts what is set aside and stops at the first that is too many.

    Args:
        kind: Of the gallery.
        input_count: All inputs.
        limit: None = any number.
        first: What the source itself set aside.
    """

    def __init__(
        self, kind: GalleryKind, input_count: int, limit: RejectionLimit | None, first: int
    ) -> None:
        self._kind = kind
        self._input_count = input_count
        self._limit = limit
        self._first = first
        self.count = first

    def reset(self) -> None:
        """Begin again, with what the source itself set aside.

        Raises:
            DataError: That is too many already.
        """
        self.count = self._first
        self._refuse_too_many(f"{self._first:,} of them by their source")

    def add(self, rejections: Iterable[Rejection]) -> None:
        """Count more of them.

        Raises:
            DataError: These are too many.
        """
        for rejection in rejections:
            self.count += 1
            self._refuse_too_many(f"the last is {rejection.place}: {rejection.reason}")

    def _refuse_too_many(self, told: str) -> None:
        if self._limit is not None and self.count > self._limit.most_of(self._input_count):
            raise DataError(
                f"more than {self._limit.text} of {self._input_count:,} {self._kind} would be set "
                f"aside, {told}; correct them or raise --max-rejected and build again: what is "
                "encoded is kept"
            )


def rejected_lines(galleries: Iterable[tuple[str, Iterable[Rejection]]]) -> Iterator[str]:
    """Yield what every gallery set aside, one JSON object a line."""
    for kind, rejections in galleries:
        for rejection in rejections:
            yield json.dumps(
                {
                    "gallery": kind,
                    "source": rejection.place,
                    "code": rejection.code,
                    "reason": rejection.reason,
                },
                ensure_ascii=False,
            )


def write_rejected(path: Path, galleries: Iterable[tuple[str, Iterable[Rejection]]]) -> None:
    """Write what every gallery set aside, one JSON object a line."""
    write_lines(path, rejected_lines(galleries))


def rejected_by_code(path: Path, kind: str) -> dict[str, tuple[int, str]]:
    """Return how much of a gallery was set aside for each reason, and the first of each.

    Args:
        path: The file that `write_rejected` wrote; where somebody removed it, nothing is known.
        kind: Of the gallery.

    Returns:
        By code, most frequent first: how many, and of the first which it is and why.
    """
    if not path.is_file():
        return {}
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    with path.open(encoding="utf-8") as lines:
        for one in map(json.loads, lines):
            if one["gallery"] == kind:
                counts[one["code"]] += 1
                first.setdefault(one["code"], f"{one['source']}: {one['reason']}")
    return {code: (count, first[code]) for code, count in counts.most_common()}
