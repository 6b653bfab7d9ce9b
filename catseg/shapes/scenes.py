"""The generated data set `shapes`: its classes, what is held out of training, and how scenes are put together.

A scene is one to three patches on a ground. Patches are named by their composition, "red striped patch"; their outlines
have no names. Two kinds of classes are never seen in training: some compositions, whose colour and texture each occur
in other classes, and two grounds.

Shapes: N scenes, K places for patches per scene, S the side of an image in pixels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from catseg.shapes.classes import (
    BACKGROUNDS,
    CLASSES,
    COMPOSITIONS,
    MAX_OBJECTS,
)
from catseg.shapes.render import render

_NUMBER_OF = {name: number for number, name in enumerate(CLASSES)}
# Class number -> index into COLOURS, TEXTURES and BACKGROUNDS; -1 where it is of the other kind.
_COLOUR_OF = torch.tensor([COMPOSITIONS.get(name, (-1, -1))[0] for name in CLASSES])
_TEXTURE_OF = torch.tensor([COMPOSITIONS.get(name, (-1, -1))[1] for name in CLASSES])
_BACKGROUND_OF = torch.tensor([BACKGROUNDS.index(name) if name in BACKGROUNDS else -1 for name in CLASSES])


@dataclass(frozen=True)
class Scenes:
    """Contents of N images.

    Attributes:
        objects: (N, K) class numbers of the patches, -1 where there is none; patches fill the first places.
        backgrounds: (N,) class numbers of the grounds.
    """

    objects: Tensor
    backgrounds: Tensor

    def __len__(self) -> int:
        return len(self.backgrounds)


def class_numbers(names: Iterable[str]) -> list[int]:
    """Numbers of classes in the label maps.

    Raises:
        KeyError: if a name is no class.
    """
    return [_NUMBER_OF[name] for name in names]


def share(numbers: Sequence[int], total: float = 1.0) -> Tensor:
    """Weights (T,) over all classes: `total`, shared evenly among some of them."""
    weights = torch.zeros(len(CLASSES))
    weights[list(numbers)] = total / len(numbers)
    return weights


def sample_scenes(
    object_weights: Tensor, background_weights: Tensor, generator: torch.Generator, *, max_objects: int = MAX_OBJECTS
) -> Scenes:
    """Choose what images show: 1 to `max_objects` different patches, each number of them equally often, and a ground.

    Args:
        object_weights: (N, T) how likely each class is to be a patch of each image.
        background_weights: (N, T) how likely each class is to be the ground.
        generator: source of the choices.
        max_objects: most patches in an image, at most `MAX_OBJECTS`.

    Returns:
        N scenes.
    """
    number = len(object_weights)
    objects = torch.multinomial(object_weights, MAX_OBJECTS, generator=generator)
    count = torch.randint(1, max_objects + 1, (number, 1), generator=generator)
    objects[torch.arange(MAX_OBJECTS) >= count] = -1
    return Scenes(objects, torch.multinomial(background_weights, 1, generator=generator)[:, 0])


def draw_scenes(
    scenes: Scenes, *, size: int, generator: torch.Generator, enlargement: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Draw scenes with their exact label maps.

    Args:
        scenes: what to draw.
        size: side S of the images, in pixels.
        generator: source of outlines, places, lighting and noise.
        enlargement: (N,) factor on the size of the patches, 1 when omitted.

    Returns:
        Images, uint8 (N, 3, S, S), RGB 0..255, and class numbers, uint8 (N, S, S).
    """
    present = scenes.objects >= 0
    objects = scenes.objects.clamp_min(0)
    images, owner = render(
        _COLOUR_OF[objects].where(present, -1),
        _TEXTURE_OF[objects].where(present, -1),
        _BACKGROUND_OF[scenes.backgrounds],
        size=size,
        generator=generator,
        enlargement=enlargement,
    )
    owned = objects.gather(1, owner.clamp_min(0).flatten(1)).view_as(owner)
    labels = torch.where(owner >= 0, owned, scenes.backgrounds[:, None, None])
    return images, labels.to(torch.uint8)
