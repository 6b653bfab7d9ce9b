"""What the network says of one image: the logits of its crops, and full-size probabilities merged from them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self, TypeAlias

import torch
from torch import Tensor

from catseg.modeling.layers.chunking import ChunkSizes
from catseg.modeling.sliding_window import View, merge_in_chunks

# Dense CLIP features, and guidance maps by name, of some crops.
CropFeatures: TypeAlias = tuple[Tensor, dict[str, Tensor]]


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """What the network computes of an image before it knows any class name.

    Attributes:
        chunks: of B crops at a time.
        image_size: rows and columns of the image that was split into the crops.
        output_size: rows and columns of the result.
        file_name: of the image, as messages name it; "" if there is none.
    """

    chunks: tuple[CropFeatures, ...]
    image_size: tuple[int, int]
    output_size: tuple[int, int]
    file_name: str = ""


@dataclass(frozen=True, eq=False)
class ImageLogits:
    """Logits of the N crops of an image, which full-size probabilities are merged from when they are needed.

    Attributes:
        logits: `(N, T, h, w)`; 36 KiB per crop and class at a cost resolution of 24 x 24.
        view: what split the image.
        chunk_sizes: how many classes are merged at a time.
        image_size: rows and columns of the image that was split.
        output_size: rows and columns of the result.
        file_name: of the image, as messages name it; "" if there is none.
    """

    logits: Tensor
    view: View
    chunk_sizes: ChunkSizes
    image_size: tuple[int, int]
    output_size: tuple[int, int]
    file_name: str = ""

    def of_first(self, classes: int) -> Self:
        """The same for the first classes alone; the others are part of no result."""
        return replace(self, logits=self.logits[:, :classes])

    @torch.no_grad()
    def class_probabilities(self, place: int) -> Tensor:
        """Merge the probabilities of one class: `(height, width)`, 0..1."""
        return self.view.merge(self.logits[:, [place]], self.image_size, self.output_size)[0]

    @torch.no_grad()
    def probabilities(self) -> Tensor:
        """Merge the probabilities of all classes: `(T, height, width)`, 0..1. Classes are scored one by one."""
        merged = torch.empty(self.logits.shape[1], *self.output_size, device=self.logits.device)
        for start, chunk in self._merged():
            merged[start : start + len(chunk)] = chunk
        return merged

    @torch.no_grad()
    def labels(self) -> tuple[Tensor, Tensor]:
        """Find the most probable class of each pixel, without a full-size map per class.

        Returns:
            Places of the classes, int64 `(height, width)`, and their probabilities, `(height, width)`, 0..1.
        """
        scores = torch.full(self.output_size, -1.0, device=self.logits.device)
        labels = torch.zeros(self.output_size, dtype=torch.int64, device=self.logits.device)
        for start, chunk in self._merged():
            for place, probabilities in enumerate(chunk, start):
                labels.masked_fill_(probabilities > scores, place)
                torch.maximum(scores, probabilities, out=scores)
        return labels, scores

    def _merged(self) -> Iterator[tuple[int, Tensor]]:
        return merge_in_chunks(self.view, self.logits, self.image_size, self.output_size, self.chunk_sizes)
