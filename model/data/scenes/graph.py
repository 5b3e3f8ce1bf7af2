"""Scene graphs: what is in a picture, before anything is drawn or said about it.

- A scene is a background and one to three groups of objects; the objects of a group share colour,
  kind and size.
- Objects stand in a 3 x 3 raster, a little off its centres, so that "on the left" or "at the top"
  is never in doubt; never in cells that touch, so that they can be large.
- Some scenes are twins of their neighbour: same background, colours and kinds, but the colours are
  dealt out differently. No colour histogram tells twins apart.
- A few combinations of colour and kind occur in the test split only.

A scene follows from (seed, split, index) alone, whatever else is generated before or beside it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

SPLITS = ("train", "dev", "test")
COLOURS = ("red", "green", "blue", "yellow", "orange", "purple")
KINDS = (
    "circle",
    "square",
    "triangle",
    "star",
    "heart",
    "flower",
    "house",
    "boat",
)
SIZES = ("small", "big")
BACKGROUNDS = ("meadow", "beach", "night", "snow", "desert", "city")

UNSEEN_COMBINATIONS = frozenset(
    {
        ("purple", "house"),
        ("green", "boat"),
        ("purple", "heart"),
        ("yellow", "flower"),
    }
)
"""(colour, kind) pairs that no train or dev picture shows."""

# The dials of the difficulty. More groups and more twins make it harder, plainer kinds easier.
GROUP_COUNT_SHARES = {1: 0.45, 2: 0.43, 3: 0.12}
MEMBER_COUNT_SHARES = {1: 0.84, 2: 0.13, 3: 0.03}
TWIN_SHARE = 0.4
UNSEEN_SHARE = 0.10
PLAIN_KIND_WEIGHT = 2.5
PLAIN_KINDS = ("circle", "square", "triangle", "star")

MAX_OBJECTS = 4
RASTER_CENTRES = (0.26, 0.5, 0.74)
JITTER = 0.02
DIAMETERS = {"small": 0.30, "big": 0.44}
DIAMETER_STEPS = (0.94, 1.0, 1.06)
ANGLES_DEGREES = (-12, -6, 0, 6, 12)
SHADE_COUNT = 3
BACKGROUND_VARIANTS = 24


@dataclass(frozen=True)
class SceneObject:
    """One thing in a picture.

    Attributes:
        colour: One of COLOURS.
        kind: One of KINDS.
        size: One of SIZES.
        column: 0 left, 1 middle, 2 right.
        row: 0 top, 1 middle, 2 bottom.
        x: Centre, as a fraction of the picture's width.
        y: Centre, as a fraction of the picture's height, from the top.
        diameter: As a fraction of the picture's width.
        angle_degrees: Its tilt.
        shade: Which of the SHADE_COUNT shades of its colour.
    """

    colour: str
    kind: str
    size: str
    column: int
    row: int
    x: float
    y: float
    diameter: float
    angle_degrees: int
    shade: int


@dataclass(frozen=True)
class Scene:
    """A whole picture: its background, how that is painted, and the objects, back to front."""

    background: str
    background_variant: int
    is_mirrored: bool
    objects: tuple[SceneObject, ...]


@dataclass(frozen=True)
class Group:
    """Objects of a scene that are alike in colour, kind and size."""

    colour: str
    kind: str
    size: str
    count: int


def groups_of(scene: Scene) -> tuple[Group, ...]:
    """Return the groups of a scene in the order in which they first occur."""
    keys = [(thing.colour, thing.kind, thing.size) for thing in scene.objects]
    return tuple(Group(*key, count=keys.count(key)) for key in dict.fromkeys(keys))


def sample_scene(seed: int, split: str, index: int) -> Scene:
    """Return scene number `index` of a split; the same arguments always give the same scene."""
    rng = random.Random(f"scene {seed} {split} {index}")
    allow_unseen = split == "test"
    if index % 2 == 1 and rng.random() < TWIN_SHARE:
        neighbour = sample_scene(seed, split, index - 1)
        swapped = _swapped_colours(groups_of(neighbour), rng, allow_unseen=allow_unseen)
        if swapped is not None:
            return _arranged(swapped, neighbour.background, rng)
    groups = _sample_groups(rng, allow_unseen=allow_unseen)
    return _arranged(groups, rng.choice(BACKGROUNDS), rng)


def _sample_groups(rng: random.Random, *, allow_unseen: bool) -> list[Group]:
    """Return one to three groups, no two alike in both colour and kind."""
    group_count = _draw(rng, GROUP_COUNT_SHARES)
    unseen = sorted(UNSEEN_COMBINATIONS)
    pairs: list[tuple[str, str]] = []
    if allow_unseen and rng.random() < UNSEEN_SHARE:
        pairs.append(rng.choice(unseen))
    kind_weights = [PLAIN_KIND_WEIGHT if kind in PLAIN_KINDS else 1.0 for kind in KINDS]
    while len(pairs) < group_count:
        pair = (rng.choice(COLOURS), rng.choices(KINDS, kind_weights)[0])
        if pair not in pairs and pair not in UNSEEN_COMBINATIONS:
            pairs.append(pair)
    groups: list[Group] = []
    room = MAX_OBJECTS - group_count
    for colour, kind in pairs:
        count = min(_draw(rng, MEMBER_COUNT_SHARES), 1 + room)
        room -= count - 1
        groups.append(Group(colour, kind, rng.choice(SIZES), count))
    return groups


def _swapped_colours(
    groups: Sequence[Group], rng: random.Random, *, allow_unseen: bool
) -> list[Group] | None:
    """Return the groups with their colours dealt out anew, or None where no new deal is allowed."""
    before = {(group.colour, group.kind) for group in groups}
    deals = []
    for colours in sorted(set(permutations(group.colour for group in groups))):
        pairs = [(colour, group.kind) for colour, group in zip(colours, groups, strict=True)]
        is_new = set(pairs) != before and len(set(pairs)) == len(pairs)
        if is_new and (allow_unseen or not UNSEEN_COMBINATIONS.intersection(pairs)):
            deals.append(pairs)
    if not deals:
        return None
    pairs = rng.choice(deals)
    return [
        Group(colour, kind, group.size, group.count)
        for (colour, kind), group in zip(pairs, groups, strict=True)
    ]


def _arranged(groups: Sequence[Group], background: str, rng: random.Random) -> Scene:
    """Return a scene with the groups' members scattered over the raster."""
    members = [group for group in groups for _ in range(group.count)]
    cells = _sample_cells(rng, len(members))
    objects = []
    for group, (column, row) in zip(members, cells, strict=True):
        objects.append(
            SceneObject(
                colour=group.colour,
                kind=group.kind,
                size=group.size,
                column=column,
                row=row,
                x=round(RASTER_CENTRES[column] + rng.uniform(-JITTER, JITTER), 4),
                y=round(RASTER_CENTRES[row] + rng.uniform(-JITTER, JITTER), 4),
                diameter=round(DIAMETERS[group.size] * rng.choice(DIAMETER_STEPS), 4),
                angle_degrees=rng.choice(ANGLES_DEGREES),
                shade=rng.randrange(SHADE_COUNT),
            )
        )
    return Scene(
        background=background,
        background_variant=rng.randrange(BACKGROUND_VARIANTS),
        is_mirrored=rng.random() < 0.5,
        objects=tuple(objects),
    )


def _sample_cells(rng: random.Random, count: int) -> list[tuple[int, int]]:
    """Return so many (column, row) of which no two touch, not even at a corner."""
    cells: list[tuple[int, int]] = []
    while len(cells) < count:
        candidates = [
            (column, row)
            for column in range(len(RASTER_CENTRES))
            for row in range(len(RASTER_CENTRES))
            if all(abs(column - x) > 1 or abs(row - y) > 1 for x, y in cells)
        ]
        # A cell in the middle can leave no room for the rest.
        cells = [*cells, rng.choice(candidates)] if candidates else []
    return cells


def _draw(rng: random.Random, shares: dict[int, float]) -> int:
    """Return one of the keys, drawn with its share."""
    return rng.choices(list(shares), list(shares.values()))[0]
