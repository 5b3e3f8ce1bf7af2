"""The words of captions: what each part of a scene is called; the first is the usual one."""

COLOUR_WORDS = {
    "red": ("red", "crimson"),
    "green": ("green", "emerald"),
    "blue": ("blue", "azure"),
    "yellow": ("yellow", "golden"),
    "orange": ("orange",),
    "purple": ("purple", "violet"),
}
KIND_WORDS = {
    "circle": ("circle", "disc"),
    "square": ("square",),
    "triangle": ("triangle",),
    "star": ("star",),
    "heart": ("heart",),
    "flower": ("flower", "blossom"),
    "house": ("house", "cottage"),
    "boat": ("boat", "ship"),
}
SIZE_WORDS = {"small": ("small", "little", "tiny"), "big": ("big", "large", "huge")}
NUMBER_WORDS = ("no", "one", "two", "three", "four", "five")
# By (column, row); None: not said.
PLACE_WORDS = {
    (0, None): ("on the left", "on the left side"),
    (2, None): ("on the right", "on the right side"),
    (None, 0): ("at the top", "up high"),
    (None, 2): ("at the bottom", "down low"),
    (0, 0): ("in the top left corner", "at the upper left"),
    (2, 0): ("in the top right corner", "at the upper right"),
    (0, 2): ("in the bottom left corner", "at the lower left"),
    (2, 2): ("in the bottom right corner", "at the lower right"),
    (1, 1): ("in the middle", "in the centre"),
}
RELATION_WORDS = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
}
BACKGROUND_WORDS = {
    "meadow": ("in a meadow", "on the grass", "in a green field"),
    "beach": ("on the beach", "by the sea", "at the seaside"),
    "night": ("at night", "in the dark", "under a dark sky"),
    "snow": ("in the snow", "in winter", "on a snowy day"),
    "desert": ("in the desert", "among the dunes"),
    "city": ("in the city", "in town", "in front of a skyline"),
}
BACKGROUND_NOUNS = {
    "meadow": ("a meadow", "a green field"),
    "beach": ("a beach", "the seaside"),
    "night": ("a dark night", "a night sky"),
    "snow": ("a snowy day", "a winter landscape"),
    "desert": ("a desert", "sand dunes"),
    "city": ("a city", "a skyline"),
}
