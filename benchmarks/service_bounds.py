"""What the service must keep to under load, and its figures beside that, as tables.

The figures are those of `benchmarks.service_load`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Bound", "bounds", "markdown"]

MOST_ADDED_MS = 3.0
LEAST_OF_BARE = 0.8
MOST_OF_A_FULL_QUEUE = 1.5
MOST_MS_TO_REFUSE = 250.0
MOST_SECONDS_TO_RECOVER = 5.0
MOST_GROWTH_MIB = 50.0
# The answers of two equal runs differ by less than this in how many they are.
_FULL_SPEED = 0.9


@dataclass(frozen=True)
class Bound:
    """A figure and what it must keep to."""

    name: str
    figure: float
    bound: float
    is_least: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the figure keeps to it; NaN does not."""
        return self.figure >= self.bound if self.is_least else self.figure <= self.bound


def bounds(figures: dict[str, Any]) -> list[Bound]:
    """Return every bound of the figures of one index."""
    one, many, over = figures["one_client"], figures["many_clients"], figures["overload"]
    failed = sum(over["failed"].values()) + over["failed_afterwards"]
    return [
        Bound("one client: added to bare encode + search, ms", one["added_ms"], MOST_ADDED_MS),
        Bound(
            f"{many['clients']} clients: throughput over bare",
            many["served_over_bare"], LEAST_OF_BARE, is_least=True,
        ),
        Bound("requests without load that failed", one["not_answered"] + many["not_answered"], 0),
        Bound(
            "overload: accepted p99 over (queue limit / bare throughput)",
            over["p99_over_full_queue"], MOST_OF_A_FULL_QUEUE,
        ),
        Bound("overload: neither accepted nor refused", failed, 0),
        Bound("overload: refused without Retry-After", over["without_retry_after"], 0),
        Bound("overload: refused after, p99, ms", over["refused_p99_ms"], MOST_MS_TO_REFUSE),
        Bound("overload: seconds until all was answered", over["answered_after_s"],
              MOST_SECONDS_TO_RECOVER),
        Bound("overload: speed afterwards over before", over["speed_afterwards"], _FULL_SPEED,
              is_least=True),
        Bound("overload: growth of resident memory, MiB", over["resident_growth_mib"],
              MOST_GROWTH_MIB),
    ]  # fmt: skip


def markdown(measured: Mapping[Any, dict[str, Any]]) -> str:
    """Return two tables: what was measured, and the bounds."""
    texts = list(measured)
    lines = [_row(["", *texts]), _row(["---"] * (1 + len(texts)))]
    for group in ("one_client", "many_clients", "overload"):
        for name in measured[texts[0]][group]:
            cells = [_cell(measured[text][group][name]) for text in texts]
            lines.append(_row([f"{group}: {name}".replace("_", " "), *cells]))
    lines += ["", _row(["bound", "must be", *texts]), _row(["---"] * (2 + len(texts)))]
    for row in zip(*(bounds(measured[text]) for text in texts), strict=True):
        said = f"{'at least' if row[0].is_least else 'at most'} {row[0].bound:g}"
        cells = [f"{_cell(one.figure)}{'' if one.is_met else ' **missed**'}" for one in row]
        lines.append(_row([row[0].name, said, *cells]))
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_cell(one)}" for name, one in value.items()) or "none"
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
