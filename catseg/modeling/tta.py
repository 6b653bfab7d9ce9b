"""Test-time augmentation: an image is looked at in several sizes, and mirrored, and the probabilities are averaged.

This is Detectron2's TEST.AUG for a network of square crops. It is a view like any other (`modeling.sliding_window`), so
that label maps, scores, class chunks and everything above the network work as without it.

TEST.AUG.MIN_SIZES are lengths of the shorter side, in pixels, at which an image is cut into windows: the published
TEST.SLIDING_SIZE of 640 x 640 is the size 640. Where SLIDING_SIZE is 0 0, they are sizes of the image itself, as in
Detectron2. An image that is squeezed into one crop (TEST.SLIDING_WINDOW False) has one size, the network's: it is
mirrored alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from detectron2.config import CfgNode
from torch import Tensor

from catseg.config_checks import check_share, check_sizes, pair
from catseg.errors import InputError
from catseg.modeling.sliding_window import Scoring, SlidingWindow, View, WholeImage

SMALLEST_WINDOW = 16  # side in pixels: windows of less than a cell would be countless, and show nothing


@dataclass(frozen=True)
class ScaledWindows:
    """Sliding windows over an image whose shorter side has a given length, its aspect kept.

    Attributes:
        windows: how windows are cut; its own `size` gives the aspect, or is `(0, 0)` for the image's.
        min_size: length of the shorter side, in pixels, at least that of a window.
        max_size: longest that the longer side may become, in pixels; the shorter one gets shorter then, but not than a
            window.
    """

    windows: SlidingWindow
    min_size: int
    max_size: int

    def working_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns at which windows are cut from an image of `image_size`."""
        shape = image_size if self.windows.size == (0, 0) else self.windows.size
        scale = min(self.min_size / min(shape), self.max_size / max(shape))
        height, width = (max(self.windows.kernel, round(side * scale)) for side in shape)
        return height, width

    def split(self, image: Tensor) -> list[Tensor]:
        """Cut an image `(3, H, W)`, as `SlidingWindow.split`."""
        return self._at((image.shape[-2], image.shape[-1])).split(image)

    def merge(self, logits: Tensor, image_size: tuple[int, int], output_size: tuple[int, int]) -> Tensor:
        """Merge the crops of one image, as `SlidingWindow.merge`."""
        return self._at(image_size).merge(logits, image_size, output_size)

    def crop_count(self, image_size: tuple[int, int]) -> int:
        """Number of crops of an image of `image_size`, as `SlidingWindow.crop_count`."""
        return self._at(image_size).crop_count(image_size)

    def _at(self, image_size: tuple[int, int]) -> SlidingWindow:
        return replace(self.windows, size=self.working_size(image_size))


class AugmentedView:
    """Several sizes of an image, each as it is and, if asked for, mirrored; the mean of what is found in all.

    What is kept at once are the logits of all crops, and the full-size probabilities of one chunk of classes.

    Args:
        sizes: views of the image in its sizes; empty for one crop of all of it.
        flip: whether each is looked at mirrored left to right as well.
        scoring: makes scores of the logits of one crop of all of it; windows have their own.
    """

    def __init__(self, *, sizes: Sequence[ScaledWindows] = (), flip: bool, scoring: Scoring = torch.sigmoid) -> None:
        self.sizes = tuple(sizes)
        self.flip = flip
        self._whole: tuple[View, ...] = (WholeImage(scoring),)

    def working_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the largest of the sizes."""
        return max(view.working_size(image_size) for view in self._views())

    def split(self, image: Tensor) -> list[Tensor]:
        """Cut an image `(3, H, W)`: the crops of each size, followed by those of the mirrored image."""
        images = [image, image.flip(-1)] if self.flip else [image]
        return [crop for view in self._views() for image in images for crop in view.split(image)]

    def merge(self, logits: Tensor, image_size: tuple[int, int], output_size: tuple[int, int]) -> Tensor:
        """Average what was found in all crops of one image.

        Args:
            logits: `(N, T, h, w)`, in the order of `split`.
            image_size: rows and columns of the image that was split.
            output_size: rows and columns wanted.

        Returns:
            Scores `(T, *output_size)`, as the views of its sizes give them.

        Raises:
            ValueError: if the number of crops is not that of `split`.
        """
        counts = [view.crop_count(image_size) for view in self.sizes] or [1]
        turns = [False, True] if self.flip else [False]
        if len(logits) != len(turns) * sum(counts):
            raise ValueError(f"expected logits of {len(turns) * sum(counts)} crops, got {len(logits)}")
        total = logits.new_zeros(logits.shape[1], *output_size)
        start = 0
        for view, count in zip(self._views(), counts, strict=True):
            for mirrored in turns:
                found = view.merge(logits[start : start + count], image_size, output_size)
                total += found.flip(-1) if mirrored else found
                start += count
        return total.div_(len(turns) * len(counts))

    def _views(self) -> Sequence[View]:
        return self.sizes or self._whole


def view_from_config(cfg: CfgNode, scoring: Scoring = torch.sigmoid) -> View:
    """Build the view that TEST asks for: windows or the whole image, augmented if TEST.AUG is enabled.

    Args:
        cfg: read are TEST.SLIDING_*, TEST.AUG.
        scoring: makes scores of the logits of a crop, before those of several crops are averaged.

    Raises:
        ValueError: if a number is too low or too high, windows of these sizes cannot be cut, no size is given for
            the augmentation, or one is smaller than a window or larger than TEST.AUG.MAX_SIZE.
    """
    options = cfg.TEST.AUG
    if not cfg.TEST.SLIDING_WINDOW:
        return AugmentedView(flip=options.FLIP, scoring=scoring) if options.ENABLED else WholeImage(scoring)
    check_sizes({"TEST.SLIDING_KERNEL": cfg.TEST.SLIDING_KERNEL}, lowest=SMALLEST_WINDOW)
    check_share({"TEST.SLIDING_OVERLAP": cfg.TEST.SLIDING_OVERLAP})
    size = pair("TEST.SLIDING_SIZE", cfg.TEST.SLIDING_SIZE, lowest=0)
    windows = SlidingWindow(
        kernel=cfg.TEST.SLIDING_KERNEL,
        overlap=cfg.TEST.SLIDING_OVERLAP,
        size=size,
        whole_image=cfg.TEST.SLIDING_WHOLE_IMAGE,
        scoring=scoring,
    )
    if not options.ENABLED:
        return windows
    smallest, largest = windows.kernel, options.MAX_SIZE
    if not options.MIN_SIZES or not smallest <= min(options.MIN_SIZES) <= max(options.MIN_SIZES) <= largest:
        raise InputError(
            f"TEST.AUG.MIN_SIZES are {tuple(options.MIN_SIZES)}: give at least one size, none smaller than a "
            f"window (TEST.SLIDING_KERNEL {smallest}) or larger than TEST.AUG.MAX_SIZE {largest}"
        )
    sizes = [ScaledWindows(windows=windows, min_size=size, max_size=largest) for size in options.MIN_SIZES]
    return AugmentedView(sizes=sizes, flip=options.FLIP)
