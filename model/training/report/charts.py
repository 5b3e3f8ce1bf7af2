"""Charts as inline SVG: lines over a logarithmic axis, and bars.

Colours are CSS variables of the page, so that a chart follows the light or dark scheme; lines
differ in their dashes too. Each chart has a title and a description for those who do not see it,
and the page puts the same numbers in a table beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

__all__ = ["Line", "bar_chart", "line_chart"]

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 96, 16, 44
_DASHES = ("none", "6 4", "2 3")

_CHART = Markup(
    '<svg class="chart" role="img" viewBox="0 0 {width} {height}" aria-label="{title}. '
    '{description}"><title>{title}</title>{body}</svg>'
)
_TEXT = Markup('<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{text}</text>')
_RULE = Markup('<line class="rule" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: Stands at its end.
        values: (x, y) from left to right, x > 0.
    """

    name: str
    values: Sequence[tuple[float, float]]


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    x_ticks: Sequence[float],
    highest_y: float = 100,
) -> Markup:
    """Return a chart of lines over a logarithmic x axis that runs from the first tick to the last.

    Args:
        title: What it shows.
        lines: At most three.
        x_label: Under the x axis.
        y_label: Beside the y axis, which begins at 0.
        x_ticks: Positive, rising.
        highest_y: Where the y axis ends.
    """
    span = math.log(x_ticks[-1] / x_ticks[0])

    def across(x: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log(x / x_ticks[0]) / span

    body = _vertical_axis(y_label, highest_y)
    for tick in x_ticks:
        body += _text(across(tick), _HEIGHT - _BOTTOM + 16, f"{tick:g}", "middle")
    body += _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, x_label, "middle")
    ends = _apart([_down(line.values[-1][1], highest_y) for line in lines])
    for number, (line, end) in enumerate(zip(lines, ends, strict=True)):
        points = " ".join(f"{across(x):.1f},{_down(y, highest_y):.1f}" for x, y in line.values)
        body += Markup(
            '<polyline class="line line-{number}" stroke-dasharray="{dashes}" points="{points}"/>'
        ).format(number=number, dashes=_DASHES[number], points=points)
        body += _text(_WIDTH - _RIGHT + 6, end + 4, line.name, "start")
    told = "; ".join(
        f"{line.name}: from {line.values[0][1]:.1f} to {line.values[-1][1]:.1f}" for line in lines
    )
    return _chart(title, told, body)


def bar_chart(
    title: str,
    bars: Sequence[tuple[str, float]],
    *,
    x_label: str,
    y_label: str,
    decimals: int = 0,
    highest_y: float | None = None,
) -> Markup:
    """Return a chart of bars (label, value >= 0), each with its value above it.

    Args:
        title: What it shows.
        bars: At least one.
        x_label: Under the bars.
        y_label: Beside the y axis, which begins at 0.
        decimals: Of the values written above the bars.
        highest_y: Where the y axis ends; None = above the largest value.
    """
    top = highest_y or _nice_top(max(value for _, value in bars))
    step = (_WIDTH - _LEFT - 8) / len(bars)
    width = min(0.72 * step, 80)
    body = _vertical_axis(y_label, top, right=8)
    for place, (label, value) in enumerate(bars):
        middle = _LEFT + (place + 0.5) * step
        height = _down(0, top) - _down(value, top)
        body += Markup(
            '<rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
        ).format(x=middle - width / 2, y=_down(value, top), width=width, height=height)
        body += _text(middle, _down(value, top) - 4, f"{value:,.{decimals}f}", "middle")
        body += _text(middle, _HEIGHT - _BOTTOM + 16, label, "middle")
    body += _text((_LEFT + _WIDTH) / 2, _HEIGHT - 8, x_label, "middle")
    told = "; ".join(f"{label}: {value:,.{decimals}f}" for label, value in bars)
    return _chart(title, told, body)


def _chart(title: str, description: str, body: Markup) -> Markup:
    return _CHART.format(
        width=_WIDTH, height=_HEIGHT, title=title, description=description, body=body
    )


def _vertical_axis(label: str, highest: float, *, right: float = _RIGHT) -> Markup:
    """Return five rules from 0 to `highest` with their numbers, and the axis' label."""
    body = Markup("")
    for quarter in range(5):
        value = highest * quarter / 4
        y = _down(value, highest)
        body += _RULE.format(x1=_LEFT, y1=y, x2=_WIDTH - right, y2=y)
        body += _text(_LEFT - 6, y + 4, f"{value:,.10g}", "end")
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    turned = Markup(' transform="rotate(-90 10 {y:.1f})"').format(y=middle)
    return body + _text(10, middle, label, "middle", more=turned)


def _text(x: float, y: float, text: str, anchor: str, *, more: str = "") -> Markup:
    return _TEXT.format(x=x, y=y, text=text, anchor=anchor, more=more)


def _down(value: float, highest: float) -> float:
    """Return the y coordinate of a value: 0 at the bottom, `highest` at the top."""
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / highest


def _apart(heights: Sequence[float], *, least: float = 14) -> list[float]:
    """Return the heights of labels, moved down where two would lie on each other."""
    moved = list(heights)
    order = sorted(range(len(moved)), key=lambda place: moved[place])
    for above, below in pairwise(order):
        moved[below] = max(moved[below], moved[above] + least)
    return moved


def _nice_top(largest: float) -> float:
    """Return a round number that leaves room above the largest value and has round quarters."""
    wanted = max(largest * 1.1, 4)
    power = 10 ** math.floor(math.log10(wanted))
    return next(
        step * power for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 12) if step * power >= wanted
    )
