"""Formulas become MathML while the site is built, so that no script has to be loaded for them.

As the forge has it: a block of ```math, and $`x`$ or $x$ within a line.
"""

import re
from typing import Any

from latex2mathml.converter import convert

_BLOCK = re.compile(r"^```math\n(?P<formula>.*?)^```$", re.MULTILINE | re.DOTALL)
_QUOTED = re.compile(r"\$`([^`\n]+)`\$")
_PLAIN = re.compile(r"(?<![\w$\\])\$([^$\s`][^$\n`]*)\$(?!\w)")
_CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the page with MathML in the place of formulas; code is left alone."""
    if "$" not in markdown and "```math" not in markdown:
        return markdown
    markdown = _BLOCK.sub(lambda found: f"\n{_mathml(found['formula'], 'block')}\n", markdown)
    markdown = _QUOTED.sub(_inline, markdown)
    # Odd parts are code.
    parts = _CODE.split(markdown)
    return "".join(
        part if place % 2 else _PLAIN.sub(_inline, part) for place, part in enumerate(parts)
    )


def _inline(found: re.Match[str]) -> str:
    return _mathml(found[1], "inline")


def _mathml(formula: str, display: str) -> str:
    formula = convert(" ".join(formula.split()), display=display)
    # Markdown takes a line that begins with <math> for a block of its own.
    return formula if display == "block" else f"<span>{formula}</span>"
