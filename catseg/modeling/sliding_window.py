"""Splitting of images into square crops for the network, and merging of their logits.

Pure tensors, no network. A view of the image is anything with `split` and `merge`.
Shapes: N windows, T classes, h x w logits of a crop, k the side of a window in pixels.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from catseg.errors import InputError
from catseg.modeling.layers.chunking import ChunkSizes
from catseg.modeling.layers.images import resize

# Makes scores of the logits of a crop, before they are averaged with those of others; of the same shape.
Scoring: TypeAlias = Callable[[Tensor], Tensor]


class View(Protocol):
    """Cuts images and merges the logits of the cuts, which it makes scores of: probabilities, by default."""

    def working_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns at which an image of `image_size` is cut and merged."""
        ...

    def split(self, image: Tensor) -> list[Tensor]:
        """Cut an image `(3, H, W)` into crops `(3, k, k)`."""
        ...

    def merge(self, logits: Tensor, image_size: tuple[int, int], output_size: tuple[int, int]) -> Tensor:
        """Turn the crops' logits `(N, T, h, w)` into scores `(T, *output_size)`."""
        ...


@dataclass(frozen=True)
class WholeImage:
    """The image squeezed into one crop.

    Attributes:
        scoring: makes scores of logits.
    """

    scoring: Scoring = torch.sigmoid

    def working_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """The image's own."""
        return image_size

    def split(self, image: Tensor) -> list[Tensor]:
        """The image itself, `(3, H, W)`."""
        return [image]

    def merge(self, logits: Tensor, image_size: tuple[int, int], output_size: tuple[int, int]) -> Tensor:
        """Scores `(T, *output_size)` from logits `(1, T, h, w)`: `scoring`, then bilinear resizing."""
        return resize(self.scoring(logits), output_size)[0]


@dataclass(frozen=True)
class SlidingWindow:
    """Overlapping square windows over the resized image, averaged, and averaged again with the whole image.

    The published setting is a working size of 640 x 640, windows of 384 and an overlap of 0.333, which gives 2 x 2
    windows at a stride of 256.

    Attributes:
        kernel: side k of a window, in pixels.
        overlap: share of a window that it has in common with the next one, 0 <= overlap < 1.
        size: rows and columns the image is resized to first; `(0, 0)` keeps the image's own, enlarged with its
            aspect kept where a side is shorter than a window.
        whole_image: whether the whole image is looked at as well.
        scoring: makes scores of logits.
    """

    kernel: int = 384
    overlap: float = 0.333
    size: tuple[int, int] = (640, 640)
    whole_image: bool = True
    scoring: Scoring = torch.sigmoid

    def __post_init__(self) -> None:
        if self.kernel < 1 or not 0 <= self.overlap < 1:
            raise InputError(
                f"SLIDING_KERNEL must be positive and SLIDING_OVERLAP within [0, 1), got {self.kernel}, {self.overlap}"
            )
        if self.size != (0, 0) and min(self.size) < self.kernel:
            raise InputError(f"SLIDING_SIZE {self.size} must be at least SLIDING_KERNEL {self.kernel}, or 0 0")

    def working_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns at which windows are cut from an image of `image_size`."""
        if self.size != (0, 0):
            return self.size
        scale = max(1.0, self.kernel / min(image_size))
        height, width = (max(self.kernel, round(side * scale)) for side in image_size)
        return height, width

    def starts(self, length: int) -> list[int]:
        """First pixels of the windows along an axis; the last window is snapped to the border."""
        stride = max(1, int(self.kernel * (1 - self.overlap)))
        return [*range(0, length - self.kernel, stride), length - self.kernel]

    def windows(self, image_size: tuple[int, int]) -> list[tuple[slice, slice]]:
        """The windows, row by row, in pixels of the working size."""
        height, width = self.working_size(image_size)
        return [
            (slice(top, top + self.kernel), slice(left, left + self.kernel))
            for top in self.starts(height)
            for left in self.starts(width)
        ]

    def crop_count(self, image_size: tuple[int, int]) -> int:
        """Number of crops of an image of `image_size`, the one of the whole image included."""
        return len(self.windows(image_size)) + self.whole_image

    def coverage(self, image_size: tuple[int, int]) -> Tensor:
        """Count the windows that cover each pixel of the working size: `(H, W)`, at least 1 everywhere."""
        count = torch.zeros(self.working_size(image_size))
        for rows, columns in self.windows(image_size):
            count[rows, columns] += 1
        return count

    def split(self, image: Tensor) -> list[Tensor]:
        """Cut an image `(3, H, W)` into windows `(3, k, k)`, row by row; the whole image, resized, may come last."""
        image_size = (image.shape[-2], image.shape[-1])
        resized = resize(image[None], self.working_size(image_size))[0]
        crops = [resized[:, rows, columns] for rows, columns in self.windows(image_size)]
        return [*crops, resize(image[None], (self.kernel, self.kernel))[0]] if self.whole_image else crops

    def merge(self, logits: Tensor, image_size: tuple[int, int], output_size: tuple[int, int]) -> Tensor:
        """Merge the crops of one image.

        Args:
            logits: `(N + 1, T, h, w)`, or `(N, T, h, w)` without the whole image, in the order of `split`.
            image_size: rows and columns of the image that was split.
            output_size: rows and columns wanted.

        Returns:
            Scores `(T, *output_size)`: probabilities, 0..1, where `scoring` gives such.

        Raises:
            ValueError: if the number of crops is not that of `split`.
        """
        windows = self.windows(image_size)
        if len(logits) != self.crop_count(image_size):
            whole = " and the whole image" * self.whole_image
            raise ValueError(f"expected logits of {len(windows)} windows{whole}, got {len(logits)}")
        size = self.working_size(image_size)
        total = logits.new_zeros(logits.shape[1], *size)
        for crop, (rows, columns) in zip(logits[: len(windows)], windows, strict=True):
            total[:, rows, columns] += self._scores(crop)
        total /= self.coverage(image_size).to(total)
        if self.whole_image:
            total += resize(self._scores(logits[-1])[None], size)[0]
            total *= 0.5
        return resize(total[None], output_size)[0]

    def _scores(self, logits: Tensor) -> Tensor:
        return self.scoring(resize(logits[None], (self.kernel, self.kernel))[0])


def batch_same_size_crops(crops: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Stack crops `(3, h, w)`, in their order, to `(B, 3, h, w)` with B at most `size`.

    Neighbours of different shapes, which are images that were not cut, stay apart.
    """
    for _, alike in groupby(crops, key=lambda crop: crop.shape):
        group = list(alike)
        for start in range(0, len(group), size):
            yield torch.stack(group[start : start + size])


def merge_in_chunks(
    view: View, logits: Tensor, image_size: tuple[int, int], output_size: tuple[int, int], chunk_sizes: ChunkSizes
) -> Iterator[tuple[int, Tensor]]:
    """`view.merge` for some classes at a time, so that memory depends neither on their number nor on the image.

    Args:
        view: what split the image.
        logits: `(N, T, h, w)`, of all crops of the image.
        image_size: rows and columns of the image.
        output_size: rows and columns wanted.
        chunk_sizes: how many classes at a time; of large images it is fewer.

    Yields:
        The first class of a chunk, and its scores `(classes, *output_size)`.
    """
    pixels = max(math.prod(view.working_size(image_size)), math.prod(output_size))
    step = chunk_sizes.merged_classes(pixels)
    for start in range(0, logits.shape[1], step):
        yield start, view.merge(logits[:, start : start + step], image_size, output_size)
