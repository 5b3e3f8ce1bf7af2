"""A scene's picture: a landscape, and on it the objects like stickers, each with a soft shadow.

Drawing depends on the scene alone; nothing is random here.
"""

from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageFilter

from model.data.scenes.graph import Scene, SceneObject
from model.data.scenes.landscapes import gradient, landscape, mixed
from model.data.scenes.stamps import Stamp, stamp

PICTURE_PIXELS = 192

SHADES = {
    "red": ((214, 52, 56), (200, 40, 50), (224, 66, 60)),
    "green": ((46, 150, 84), (38, 138, 70), (60, 160, 96)),
    "blue": ((46, 104, 204), (38, 90, 188), (60, 118, 216)),
    "yellow": ((250, 208, 52), (244, 200, 40), (252, 216, 78)),
    "orange": ((242, 134, 38), (236, 124, 28), (246, 146, 56)),
    "purple": ((136, 72, 176), (124, 62, 164), (148, 86, 188)),
}
CREAM = (255, 248, 228)
INK = (44, 40, 60)
BORDER = (255, 253, 248)
SHADOW = (30, 24, 48)
SHADOW_OPACITY = 0.42

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Drawing:
    """A picture and where its objects are.

    Attributes:
        picture: RGB, square.
        boxes: (left, top, right, bottom) of every object with its border, in pixels, right and
            bottom exclusive; in the order of the scene's objects.
    """

    picture: Image.Image
    boxes: tuple[Box, ...]


def draw_scene(scene: Scene, *, size_pixels: int = PICTURE_PIXELS) -> Drawing:
    """Return the picture of a scene."""
    picture = landscape(scene.background, scene.background_variant, size_pixels).copy()
    if scene.is_mirrored:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    boxes = tuple(_place(picture, thing, size_pixels) for thing in scene.objects)
    return Drawing(picture, boxes)


def _place(picture: Image.Image, thing: SceneObject, size_pixels: int) -> Box:
    """Draw one object and return its box, cut to the picture."""
    diameter = round(thing.diameter * size_pixels)
    print_ = stamp(thing.kind, diameter, thing.angle_degrees)
    width = print_.body.width
    left = round(thing.x * size_pixels - width / 2)
    top = round(thing.y * size_pixels - width / 2)
    drop = max(1, diameter // 18)
    picture.paste(SHADOW, (left, top + drop), _shadow(thing.kind, diameter, thing.angle_degrees))
    picture.paste(BORDER, (left, top), print_.border)
    colour = SHADES[thing.colour][thing.shade]
    picture.paste(_shaded(colour, width), (left, top), print_.body)
    tints = {
        "light": mixed(colour, (255, 255, 255), 0.45),
        "dark": mixed(colour, INK, 0.3),
        "cream": CREAM,
        "body": colour,
    }
    for tint, mask in print_.details:
        picture.paste(tints[tint], (left, top), mask)
    return _box(print_, left, top, size_pixels)


def _box(print_: Stamp, left: int, top: int, size_pixels: int) -> Box:
    """Return the stamp's box where it was printed, cut to the picture."""
    x0, y0, x1, y1 = print_.box
    return (
        max(0, left + x0),
        max(0, top + y0),
        min(size_pixels, left + x1),
        min(size_pixels, top + y1),
    )


@lru_cache(maxsize=4096)
def _shadow(kind: str, diameter: int, angle_degrees: int) -> Image.Image:
    """Return the blurred mask of an object's shadow."""
    border = stamp(kind, diameter, angle_degrees).border
    blurred = border.filter(ImageFilter.GaussianBlur(max(1.0, diameter / 20)))
    return blurred.point(lambda level: int(level * SHADOW_OPACITY))


@lru_cache(maxsize=1024)
def _shaded(colour: tuple[int, int, int], width: int) -> Image.Image:
    """Return a square of a colour, a little lighter at the top and darker at the bottom."""
    return gradient(width, width, mixed(colour, (255, 255, 255), 0.16), mixed(colour, INK, 0.1))
