"""Images of shapes with captions, for the contrastive pretraining of a small CLIP.

A caption lists everything in its image and says nothing about where: "a photo of a red striped patch and a blue plain
patch on grass.". No label map is given out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from catseg.shapes.classes import BACKGROUNDS, CLASSES, COLOURS, OBJECTS
from catseg.shapes.scenes import Scenes, class_numbers, draw_scenes, sample_scenes, share

PHRASES = ("a photo of {}.", "a picture of {}.", "an image of {}.", "{}.")
MAX_OBJECTS = 2  # in an image of 3 x 3 patches there is no room for more
ONE_COLOUR = 0.25  # share of the batches whose patches are all of one colour, so that textures must be told apart
CLOSE_UP = 0.2  # share of the images that one patch fills
BARE = 0.1  # share of the images that show nothing but the ground

_CLOSE_UP_FACTOR = 4.0
_DRAWN_AT_ONCE = 256


@dataclass(frozen=True)
class Pairs:
    """Images and their captions, in batches that belong together.

    Attributes:
        images: uint8 (batches, N, 3, S, S), RGB 0..255.
        captions: one list of N captions per batch.
    """

    images: Tensor
    captions: list[list[str]]


def make_pairs(
    batches: int, batch_size: int, *, size: int, generator: torch.Generator, objects: Sequence[str] = OBJECTS
) -> Pairs:
    """Draw images and write their captions.

    Args:
        batches: how many batches.
        batch_size: images N in each.
        size: side S of the images, in pixels.
        generator: source of everything random.
        objects: names of the patches that occur; the others are neither drawn nor named.

    Returns:
        The pairs.
    """
    number = batches * batch_size
    scenes, close_up = _sample(batches, batch_size, generator, objects)
    enlargement = torch.where(close_up, _CLOSE_UP_FACTOR, 1.0)
    images = []
    for part in torch.arange(number).split(_DRAWN_AT_ONCE):
        chosen = Scenes(scenes.objects[part], scenes.backgrounds[part])
        images.append(draw_scenes(chosen, size=size, generator=generator, enlargement=enlargement[part])[0])
    phrases = torch.randint(len(PHRASES), (number,), generator=generator).tolist()
    # A list of patches starts anywhere: their places in the image follow their order in the scene.
    start = torch.randint(MAX_OBJECTS, (number,), generator=generator).tolist()
    captions = [
        PHRASES[phrase].format(_describe(patches[turn:] + patches[:turn], None if close else ground))
        for phrase, turn, close, patches, ground in zip(
            phrases, start, close_up.tolist(), _patches(scenes), scenes.backgrounds.tolist(), strict=True
        )
    ]
    return Pairs(
        torch.cat(images).unflatten(0, (batches, batch_size)),
        [captions[i : i + batch_size] for i in range(0, number, batch_size)],
    )


def _sample(batches: int, batch_size: int, generator: torch.Generator, objects: Sequence[str]) -> tuple[Scenes, Tensor]:
    """Scenes, and which of them are close-ups, bool (N,)."""
    number = batches * batch_size
    of_colour = torch.stack([share(class_numbers(name for name in objects if name.startswith(c))) for c in COLOURS])
    one_colour = torch.rand(batches, generator=generator) < ONE_COLOUR
    colour = torch.randint(len(COLOURS), (batches,), generator=generator)
    weights = torch.where(one_colour[:, None], of_colour[colour], share(class_numbers(objects)))
    scenes = sample_scenes(
        weights.repeat_interleave(batch_size, dim=0),
        share(class_numbers(BACKGROUNDS)).expand(number, -1),
        generator,
        max_objects=MAX_OBJECTS,
    )
    kind = torch.rand(number, generator=generator)
    close_up, bare = kind < CLOSE_UP, kind > 1 - BARE
    scenes.objects[close_up, 1:] = -1
    scenes.objects[bare] = -1
    return scenes, close_up


def _patches(scenes: Scenes) -> list[list[str]]:
    return [[CLASSES[number] for number in row if number >= 0] for row in scenes.objects.tolist()]


def _describe(patches: Sequence[str], ground: int | None) -> str:
    listed = " and ".join(f"a {patch}" for patch in patches)
    if ground is None:
        return listed
    return f"{listed} on {CLASSES[ground]}" if listed else CLASSES[ground]
