"""Backgrounds: soft, layered landscapes in a few variants each.

Every variant is painted once per process at twice its size and reduced.
"""

import math
import random
from collections.abc import Callable, Sequence
from functools import lru_cache

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]

SUPERSAMPLING = 2


@lru_cache(maxsize=1024)
def landscape(background: str, variant: int, size_pixels: int) -> Image.Image:
    """Return a square RGB picture of a background; the same arguments always give the same one."""
    rng = random.Random(f"landscape {background} {variant}")
    width = size_pixels * SUPERSAMPLING
    painted = PAINTERS[background](width, rng)
    return painted.resize((size_pixels, size_pixels), Image.Resampling.LANCZOS)


def mixed(first: Sequence[int], second: Sequence[int], share: float) -> Colour:
    """Return the first colour with a share of the second mixed in."""
    red, green, blue = (
        round(a + (b - a) * share) for a, b in zip(first[:3], second[:3], strict=True)
    )
    return red, green, blue


def gradient(width: int, height: int, top: Sequence[int], bottom: Sequence[int]) -> Image.Image:
    """Return a picture that fades from the top colour to the bottom one."""
    column = Image.new("RGB", (1, height))
    for y in range(height):
        column.putpixel((0, y), mixed(top, bottom, y / max(1, height - 1)))
    return column.resize((width, height), Image.Resampling.NEAREST)


def _ridge(
    picture: Image.Image,
    rng: random.Random,
    *,
    height: float,
    swing: float,
    colours: tuple[Colour, Colour],
) -> None:
    """Paint a rolling ridge whose top lies at `height`, a fraction from the picture's top."""
    width = picture.width
    waves = [
        (rng.uniform(0.5, 1.3), rng.uniform(0, 7), 1.0),
        (rng.uniform(1.6, 2.6), rng.uniform(0, 7), 0.35),
    ]
    line = [
        (
            x,
            width
            * (
                height
                + swing * sum(s * math.sin(f * 2 * math.pi * x / width + p) for f, p, s in waves)
            ),
        )
        for x in range(0, width + 8, 8)
    ]
    mask = Image.new("L", picture.size, 0)
    ImageDraw.Draw(mask).polygon([*line, (width + 8, width), (0, width)], fill=255)
    top = min(y for _, y in line)
    fade = Image.new("RGB", picture.size, colours[1])
    fade.paste(gradient(width, max(2, width - int(top)), *colours), (0, int(top)))
    picture.paste(fade, (0, 0), mask)


def _cloud(picture: Image.Image, rng: random.Random, colour: Colour, opacity: int) -> None:
    """Paint a flat-bottomed cloud in the upper part."""
    width = picture.width
    mask = Image.new("L", picture.size, 0)
    pen = ImageDraw.Draw(mask)
    x, y = rng.uniform(0.1, 0.9) * width, rng.uniform(0.06, 0.3) * width
    reach = rng.uniform(0.07, 0.12) * width
    for offset, scale in ((-1.0, 0.45), (-0.45, 0.7), (0.2, 0.85), (0.85, 0.55), (1.3, 0.35)):
        radius = reach * scale * 0.62
        centre = x + offset * reach
        pen.ellipse((centre - radius, y - 2 * radius, centre + radius, y), fill=opacity)
    pen.rounded_rectangle(
        (x - 1.35 * reach, y - 0.25 * reach, x + 1.6 * reach, y), 0.12 * reach, fill=opacity
    )
    picture.paste(colour, (0, 0), mask)


def _meadow(width: int, rng: random.Random) -> Image.Image:
    sky = mixed((150, 205, 236), (190, 220, 230), rng.random())
    picture = gradient(width, width, sky, (238, 244, 236))
    for _ in range(rng.randint(1, 3)):
        _cloud(picture, rng, (255, 255, 255), 190)
    grass = mixed((150, 196, 120), (176, 200, 118), rng.random())
    for step, height in enumerate((0.5, 0.64, 0.8)):
        colour = mixed(grass, (88, 140, 84), 0.3 * step)
        _ridge(
            picture,
            rng,
            height=height + rng.uniform(-0.03, 0.03),
            swing=0.035,
            colours=(colour, mixed(colour, (120, 170, 96), 0.4)),
        )
    return picture


def _beach(width: int, rng: random.Random) -> Image.Image:
    picture = gradient(
        width, width, mixed((126, 200, 226), (168, 214, 228), rng.random()), (246, 242, 226)
    )
    for _ in range(rng.randint(0, 2)):
        _cloud(picture, rng, (255, 255, 255), 180)
    horizon = int(width * rng.uniform(0.4, 0.47))
    shore = rng.uniform(0.62, 0.68)
    sea = gradient(width, width - horizon, (70, 150, 182), (136, 208, 210))
    picture.paste(sea, (0, horizon))
    _ridge(picture, rng, height=shore - 0.018, swing=0.012, colours=((240, 250, 248),) * 2)
    rng_sand = random.Random(rng.random())
    _ridge(
        picture,
        rng_sand,
        height=shore + 0.012,
        swing=0.014,
        colours=((240, 220, 178), (226, 198, 150)),
    )
    return picture


def _night(width: int, rng: random.Random) -> Image.Image:
    picture = gradient(width, width, mixed((22, 26, 62), (38, 24, 66), rng.random()), (86, 82, 132))
    pen = ImageDraw.Draw(picture)
    for _ in range(46):
        x, y, radius = rng.random() * width, rng.random() * 0.7 * width, rng.uniform(0.5, 1.5)
        tone = rng.randint(150, 240)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(tone, tone, 230))
    for step, height in enumerate((0.72, 0.84)):
        colour = mixed((52, 52, 96), (24, 26, 58), step)
        _ridge(picture, rng, height=height, swing=0.04, colours=(colour, (22, 24, 52)))
    return picture


def _snow(width: int, rng: random.Random) -> Image.Image:
    picture = gradient(
        width, width, mixed((176, 196, 216), (196, 200, 220), rng.random()), (234, 238, 244)
    )
    for step, height in enumerate((0.5, 0.66, 0.82)):
        colour = mixed((214, 224, 238), (250, 252, 255), 0.5 * step)
        _ridge(
            picture,
            rng,
            height=height + rng.uniform(-0.03, 0.03),
            swing=0.04,
            colours=(colour, mixed(colour, (220, 230, 242), 0.5)),
        )
        if step < 2:
            for _ in range(rng.randint(2, 4)):
                x, foot = rng.random() * width, (height + 0.05) * width
                _pine(picture, x, foot, width * rng.uniform(0.05, 0.08))
    pen = ImageDraw.Draw(picture)
    for _ in range(40):
        x, y, radius = rng.random() * width, rng.random() * width, rng.uniform(0.8, 2.2)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 255, 255))
    return picture


def _pine(picture: Image.Image, x: float, foot: float, height: float) -> None:
    """Paint a pale pine of three tiers."""
    pen = ImageDraw.Draw(picture)
    for tier in range(3):
        half, top = height * (0.2 + 0.1 * tier), foot - height * (1.0 - 0.27 * tier)
        pen.polygon(
            [(x, top), (x + half, top + 0.45 * height), (x - half, top + 0.45 * height)],
            fill=(150, 170, 178),
        )


def _desert(width: int, rng: random.Random) -> Image.Image:
    picture = gradient(
        width, width, mixed((244, 206, 168), (236, 190, 170), rng.random()), (252, 236, 204)
    )
    x, y, radius = rng.uniform(0.15, 0.85) * width, rng.uniform(0.12, 0.3) * width, 0.09 * width
    ImageDraw.Draw(picture).ellipse(
        (x - radius, y - radius, x + radius, y + radius), fill=(255, 246, 220)
    )
    for step, height in enumerate((0.52, 0.66, 0.82)):
        colour = mixed((228, 184, 128), (196, 138, 90), 0.5 * step)
        _ridge(
            picture,
            rng,
            height=height + rng.uniform(-0.03, 0.03),
            swing=0.05,
            colours=(colour, mixed(colour, (236, 196, 140), 0.5)),
        )
    return picture


def _city(width: int, rng: random.Random) -> Image.Image:
    picture = gradient(
        width, width, mixed((196, 190, 214), (184, 200, 214), rng.random()), (246, 230, 222)
    )
    pen = ImageDraw.Draw(picture)
    for step, base in enumerate((0.44, 0.62)):
        tone = mixed((176, 172, 196), (120, 120, 150), step)
        x = -rng.uniform(0, 0.1) * width
        while x < width:
            breadth, top = rng.uniform(0.08, 0.15) * width, (base + rng.uniform(-0.1, 0.1)) * width
            pen.rectangle(
                (x, top, x + breadth, width),
                fill=mixed(tone, (255, 255, 255), rng.uniform(0, 0.12)),
            )
            _windows(pen, rng, (x, top, x + breadth, width), mixed(tone, (250, 236, 200), 0.45))
            x += breadth + rng.choice((0, 0, 0.02)) * width
    street = int(0.9 * width)
    picture.paste(gradient(width, width - street, (98, 98, 122), (82, 82, 106)), (0, street))
    return picture


def _windows(
    pen: ImageDraw.ImageDraw,
    rng: random.Random,
    tower: tuple[float, float, float, float],
    colour: Colour,
) -> None:
    """Paint some lit windows on a tower."""
    left, top, right, bottom = tower
    side = (right - left) / 7
    for column in (1, 3, 5):
        y = top + side
        while y < bottom:
            if rng.random() < 0.6:
                x = left + column * side
                pen.rectangle((x, y, x + side, y + side * 1.2), fill=colour)
            y += side * 2.4


PAINTERS: dict[str, Callable[[int, random.Random], Image.Image]] = {
    "meadow": _meadow,
    "beach": _beach,
    "night": _night,
    "snow": _snow,
    "desert": _desert,
    "city": _city,
}
