"""The classes of the generated data set `shapes`, what is held out of training, and how many images each split has."""

COLOURS = {
    "red": (210, 40, 45),
    "orange": (240, 140, 30),
    "yellow": (240, 220, 60),
    "green": (40, 165, 70),
    "blue": (45, 85, 215),
    "purple": (140, 60, 170),
}
# Each texture has a second colour of its own; None stands for the object's own colour mixed with white.
TEXTURES: dict[str, tuple[int, int, int] | None] = {
    "plain": (0, 0, 0),
    "striped": (12, 12, 14),
    "dotted": (250, 250, 250),
    "checkered": None,
    "speckled": (120, 122, 120),
}
BACKGROUNDS = ("grass", "water", "bricks", "snow", "sand", "night sky")
MAX_OBJECTS = 3

# (colour, texture): every colour and every texture is held out at least once, no colour and no texture more than twice.
_HELD_OUT_COMPOSITIONS = (
    ("red", "striped"),
    ("orange", "speckled"),
    ("yellow", "dotted"),
    ("yellow", "plain"),
    ("green", "checkered"),
    ("blue", "dotted"),
    ("purple", "striped"),
)


def object_name(colour: str, texture: str) -> str:
    """Name the class of a patch: "red striped patch"."""
    return f"{colour} {texture} patch"


HELD_OUT_OBJECTS = tuple(object_name(*pair) for pair in _HELD_OUT_COMPOSITIONS)
HELD_OUT_BACKGROUNDS = ("sand", "night sky")
HELD_OUT = (*HELD_OUT_OBJECTS, *HELD_OUT_BACKGROUNDS)

COMPOSITIONS = {object_name(c, t): (i, j) for i, c in enumerate(COLOURS) for j, t in enumerate(TEXTURES)}
OBJECTS = tuple(COMPOSITIONS)
SEEN_OBJECTS = tuple(name for name in OBJECTS if name not in HELD_OUT)
SEEN = (*SEEN_OBJECTS, *(name for name in BACKGROUNDS if name not in HELD_OUT))
CLASSES = (*SEEN, *HELD_OUT)  # labels number them in this order, so that SEEN are the first in every split

IMAGE_COUNTS = {"train": 4000, "seen_test": 300, "unseen_test": 300}  # of each split, unless asked otherwise
