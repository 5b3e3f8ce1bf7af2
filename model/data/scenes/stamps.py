"""Outlines of the things in a scene, and their stamps: masks of one thing at one size and tilt.

Outlines live on a square from -1 to 1, y down. A stamp is drawn several times too large and
reduced, so that its edges are smooth; corners are rounded by a blur and a threshold; a pale border,
like a sticker's, keeps a thing apart from any background.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageChops, ImageDraw, ImageFilter

Outline = Sequence[tuple[float, float]]

SUPERSAMPLING = 4
BORDER_FRACTION = 0.055
"""Width of the pale border, as a fraction of the diameter."""
ROUNDING_FRACTION = 0.035


@dataclass(frozen=True)
class Sketch:
    """How to draw a kind of thing.

    Attributes:
        body: Outlines whose union is filled with the thing's colour.
        details: (tint, outline) drawn on the body; tint is "body", "light", "dark",
            or "cream".
    """

    body: tuple[Outline, ...]
    details: tuple[tuple[str, Outline], ...] = ()


@dataclass(frozen=True)
class Stamp:
    """Masks ("L", all of one size) of a thing; the bounding box is that of body and border.

    Attributes:
        body: Where the colour goes.
        border: Body and border together.
        details: (tint, mask), already cut to the body.
        box: (left, top, right, bottom) of the border within the mask, in pixels.
    """

    body: Image.Image
    border: Image.Image
    details: tuple[tuple[str, Image.Image], ...]
    box: tuple[int, int, int, int]


@lru_cache(maxsize=4096)
def stamp(kind: str, diameter_pixels: int, angle_degrees: int) -> Stamp:
    """Return the stamp of a thing whose outline square is `diameter_pixels` wide."""
    margin = 2 + math.ceil(diameter_pixels * (BORDER_FRACTION + 0.09))
    width = diameter_pixels + 2 * margin
    body = _rounded(
        _filled(SKETCHES[kind].body, width, diameter_pixels, angle_degrees),
        diameter_pixels * ROUNDING_FRACTION,
    )
    border = _grown(body, diameter_pixels * BORDER_FRACTION)
    details = tuple(
        (tint, _filled((outline,), width, diameter_pixels, angle_degrees))
        for tint, outline in SKETCHES[kind].details
    )
    body_mask, border_mask = _reduced(body, width), _reduced(border, width)
    box = border_mask.point(lambda level: 255 * (level > 127)).getbbox()
    assert box is not None, f"{kind} at {diameter_pixels} pixels left no mark"
    return Stamp(
        body=body_mask,
        border=border_mask,
        details=tuple(
            (tint, ImageChops.darker(_reduced(mask, width), body_mask)) for tint, mask in details
        ),
        box=box,
    )


def _filled(
    outlines: Sequence[Outline], width: int, diameter_pixels: int, angle_degrees: int
) -> Image.Image:
    """Return a supersampled mask of the outlines' union, tilted."""
    mask = Image.new("L", (width * SUPERSAMPLING, width * SUPERSAMPLING), 0)
    pen = ImageDraw.Draw(mask)
    cosine = math.cos(math.radians(angle_degrees))
    sine = math.sin(math.radians(angle_degrees))
    centre, scale = width * SUPERSAMPLING / 2, diameter_pixels * SUPERSAMPLING / 2
    for outline in outlines:
        pen.polygon(
            [
                (
                    centre + scale * (cosine * x - sine * y),
                    centre + scale * (sine * x + cosine * y),
                )
                for x, y in outline
            ],
            fill=255,
        )
    return mask


def _rounded(mask: Image.Image, radius_pixels: float) -> Image.Image:
    """Return the supersampled mask with its corners rounded."""
    blurred = mask.filter(ImageFilter.GaussianBlur(radius_pixels * SUPERSAMPLING))
    return blurred.point(lambda level: 255 * (level > 127))


def _grown(mask: Image.Image, pixels: float) -> Image.Image:
    """Return the supersampled mask, about `pixels` wider on every side."""
    # A Gaussian-blurred straight edge falls to 16 % one standard deviation outside.
    blurred = mask.filter(ImageFilter.GaussianBlur(pixels * SUPERSAMPLING))
    return blurred.point(lambda level: 255 * (level > 40))


def _reduced(mask: Image.Image, width: int) -> Image.Image:
    """Return the mask at its final size."""
    return mask.resize((width, width), Image.Resampling.BOX)


def _curve(
    radius: Callable[[float], float], *, x: float = 0, y: float = 0, points: int = 72
) -> Outline:
    """Return a closed curve around (x, y), given its radius as a function of the angle."""
    angles = [2 * math.pi * point / points for point in range(points)]
    return [(x + radius(a) * math.cos(a), y + radius(a) * math.sin(a)) for a in angles]


def _disc(radius: float, *, x: float = 0, y: float = 0) -> Outline:
    return _curve(lambda _: radius, x=x, y=y)


def _rectangle(left: float, top: float, right: float, bottom: float) -> Outline:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def _star(radius: float) -> Outline:
    spikes = [
        (radius if point % 2 == 0 else 0.44 * radius, math.pi * (point / 5 - 0.5))
        for point in range(10)
    ]
    return [(r * math.cos(a), 0.06 + r * math.sin(a)) for r, a in spikes]


def _heart() -> Outline:
    turns = [2 * math.pi * point / 72 for point in range(72)]
    return [
        (
            16 * math.sin(t) ** 3 / 16.5,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16
            - 0.1,
        )
        for t in turns
    ]


def _flower() -> tuple[Outline, ...]:
    petals = [
        _disc(0.4, x=0.63 * math.cos(a), y=0.63 * math.sin(a))
        for a in (2 * math.pi * (petal / 5 - 0.25) for petal in range(5))
    ]
    return (*petals, _disc(0.4))


SKETCHES: dict[str, Sketch] = {
    "circle": Sketch((_disc(0.95),), (("cream", _disc(0.66)), ("body", _disc(0.42)))),
    "square": Sketch(
        (_rectangle(-0.85, -0.85, 0.85, 0.85),),
        (
            ("cream", _rectangle(-0.14, -1.0, 0.14, 1.0)),
            ("cream", _rectangle(-1.0, -0.14, 1.0, 0.14)),
        ),
    ),
    "triangle": Sketch(
        (((0, -1.0), (1.0, 0.82), (-1.0, 0.82)),),
        (
            ("cream", _rectangle(-1.0, 0.42, 1.0, 0.6)),
            ("cream", _rectangle(-1.0, 0.06, 1.0, 0.24)),
            ("cream", _rectangle(-1.0, -0.3, 1.0, -0.12)),
        ),
    ),
    "star": Sketch((_star(1.08),), (("dark", _star(0.6)),)),
    "heart": Sketch((_heart(),), (("light", _disc(0.2, x=-0.45, y=-0.4)),)),
    "flower": Sketch(_flower(), (("cream", _disc(0.3)),)),
    "house": Sketch(
        (
            ((-0.7, -0.2), (0.7, -0.2), (0.7, 0.92), (-0.7, 0.92)),
            ((0, -1.0), (1.0, -0.1), (-1.0, -0.1)),
            ((0.35, -0.9), (0.62, -0.9), (0.62, -0.2), (0.35, -0.2)),
        ),
        (
            ("dark", ((0, -1.0), (1.0, -0.1), (-1.0, -0.1))),
            ("cream", ((-0.48, 0.14), (-0.08, 0.14), (-0.08, 0.52), (-0.48, 0.52))),
            ("cream", ((0.12, 0.2), (0.48, 0.2), (0.48, 0.95), (0.12, 0.95))),
        ),
    ),
    "boat": Sketch(
        (
            ((-1.0, 0.42), (1.0, 0.42), (0.62, 0.92), (-0.62, 0.92)),
            ((0.0, -1.0), (0.12, -1.0), (0.12, 0.5), (0.0, 0.5)),
            ((0.1, -0.92), (0.9, 0.24), (0.1, 0.24)),
            ((0.02, -0.66), (0.02, 0.24), (-0.7, 0.24)),
        ),
        (
            ("dark", ((-1.0, 0.42), (1.0, 0.42), (0.62, 0.92), (-0.62, 0.92))),
            ("light", ((0.02, -0.66), (0.02, 0.24), (-0.7, 0.24))),
        ),
    ),
}
