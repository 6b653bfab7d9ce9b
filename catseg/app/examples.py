"""Images to try the app with, which are drawn: the package ships no photographs."""

from dataclasses import dataclass

import torch

from catseg.app.drawing import png
from catseg.shapes.scenes import Scenes, class_numbers, draw_scenes

_SIDE = 64  # pixels, as the model `shapes` was trained with
_SCENES = (  # patches, ground
    (("red plain patch", "blue striped patch"), "grass"),
    (("green dotted patch", "yellow striped patch", "purple plain patch"), "water"),
    (("blue checkered patch", "orange plain patch"), "night sky"),
)


@dataclass(frozen=True)
class Example:
    """An image and names for it.

    Attributes:
        content: of its file.
        name: of its file.
        words: what may be in it.
    """

    content: bytes
    name: str
    words: str


def drawn_examples() -> list[Example]:
    """Draw some images of the data set `shapes`, the same every time."""
    generator = torch.Generator().manual_seed(3)
    most = max(len(patches) for patches, _ in _SCENES)
    objects = torch.full((len(_SCENES), most), -1)
    for row, (patches, _) in zip(objects, _SCENES, strict=True):
        row[: len(patches)] = torch.tensor(class_numbers(patches))
    grounds = torch.tensor(class_numbers(ground for _, ground in _SCENES))
    images, _ = draw_scenes(Scenes(objects, grounds), size=_SIDE, generator=generator)
    return [
        Example(png(image.permute(1, 2, 0).numpy()), f"example{number}.png", ", ".join((*patches, ground)))
        for number, (image, (patches, ground)) in enumerate(zip(images, _SCENES, strict=True), 1)
    ]
