"""The splits of the data set `shapes`: what their images show, and the files they are made of."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from catseg.atomic import atomic_path
from catseg.shapes.classes import HELD_OUT_BACKGROUNDS, HELD_OUT_OBJECTS, SEEN, SEEN_OBJECTS
from catseg.shapes.scenes import Scenes, class_numbers, draw_scenes, sample_scenes, share

VERSION = 1  # of what is drawn: the same version, settings and libraries give the same pixels
IMAGES_PER_CHUNK = 100  # images that are drawn from one seed, so that an interrupted run goes on where it was

_SEEN_OBJECTS, _SEEN_BACKGROUNDS = class_numbers(SEEN_OBJECTS), class_numbers(SEEN[len(SEEN_OBJECTS) :])
_HELD_OUT_OBJECTS, _HELD_OUT_BACKGROUNDS = class_numbers(HELD_OUT_OBJECTS), class_numbers(HELD_OUT_BACKGROUNDS)


def seen_scenes(number: int, generator: torch.Generator) -> Scenes:
    """Choose scenes of seen classes alone."""
    objects, backgrounds = share(_SEEN_OBJECTS), share(_SEEN_BACKGROUNDS)
    return sample_scenes(objects.expand(number, -1), backgrounds.expand(number, -1), generator)


def unseen_scenes(number: int, generator: torch.Generator) -> Scenes:
    """Choose scenes with at least one held-out class each, patch or ground, among seen ones.

    Patches and grounds are held-out ones half of the time; a scene without any gets a held-out ground.
    """
    objects = share(_SEEN_OBJECTS, 0.5) + share(_HELD_OUT_OBJECTS, 0.5)
    backgrounds = share(_SEEN_BACKGROUNDS, 0.5) + share(_HELD_OUT_BACKGROUNDS, 0.5)
    scenes = sample_scenes(objects.expand(number, -1), backgrounds.expand(number, -1), generator)
    first_held_out = min(_HELD_OUT_OBJECTS)  # held-out classes have the highest numbers
    without = (scenes.objects.amax(dim=1) < first_held_out) & (scenes.backgrounds < first_held_out)
    others = torch.multinomial(share(_HELD_OUT_BACKGROUNDS).expand(number, -1), 1, generator=generator)[:, 0]
    return Scenes(scenes.objects, torch.where(without, others, scenes.backgrounds))


SPLITS: dict[str, Callable[[int, torch.Generator], Scenes]] = {
    "train": seen_scenes,
    "seen_test": seen_scenes,
    "unseen_test": unseen_scenes,
}


@dataclass(frozen=True)
class Split:
    """One split on the disk: `images/<name>/00000.png` and `annotations/<name>/00000.png`, and so on.

    Attributes:
        folder: the folder of the data set.
        name: one of `SPLITS`.
        images: how many images it has.
        size: side of the images, in pixels.
        seed: of the whole data set.
    """

    folder: Path
    name: str
    images: int
    size: int
    seed: int

    @property
    def chunks(self) -> int:
        """Number of chunks that `write_chunk` writes."""
        return -(-self.images // IMAGES_PER_CHUNK)

    def write_chunk(self, index: int) -> int:
        """Write the images and label maps of a chunk, unless all are there. Each file is complete or absent.

        Returns:
            How many images it has.
        """
        numbers = range(index * IMAGES_PER_CHUNK, min(self.images, (index + 1) * IMAGES_PER_CHUNK))
        paths = [self.paths(number) for number in numbers]
        if all(path.is_file() for pair in paths for path in pair):
            return len(numbers)
        generator = torch.Generator().manual_seed(self._chunk_seed(index))
        scenes = SPLITS[self.name](len(numbers), generator)
        images, labels = draw_scenes(scenes, size=self.size, generator=generator)
        arrays = images.permute(0, 2, 3, 1).numpy()
        for (image_path, label_path), image, label_map in zip(paths, arrays, labels.numpy(), strict=True):
            _write_png(label_path, label_map)
            _write_png(image_path, image)
        return len(numbers)

    def paths(self, number: int) -> tuple[Path, Path]:
        """Files of an image and of its label map."""
        name = f"{number:05d}.png"
        return self.folder / "images" / self.name / name, self.folder / "annotations" / self.name / name

    def digest(self) -> str:
        """SHA-256 over all files of the split, in order; a missing one counts as empty."""
        total = hashlib.sha256()
        for number in range(self.images):
            for path in self.paths(number):
                content = path.read_bytes() if path.is_file() else b""
                total.update(hashlib.sha256(content).digest())
        return total.hexdigest()

    def remove(self) -> None:
        """Delete the split's files, those of an interrupted run included."""
        for number in range(self.images):
            for path in self.paths(number):
                path.unlink(missing_ok=True)

    def _chunk_seed(self, index: int) -> int:
        key = f"{VERSION} {self.seed} {self.name} {index}".encode()
        return int.from_bytes(hashlib.sha256(key).digest()[:7], "big")


def _write_png(path: Path, pixels: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, compress_level=1)
