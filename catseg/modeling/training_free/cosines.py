"""What CLIP alone says of one image: cosines of its crops, made probabilities once they are merged."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from catseg.modeling.image_logits import ImageLogits


@dataclass(frozen=True, eq=False)
class ImageCosines(ImageLogits):
    """Cosines of the crops of an image, which are merged and then made probabilities by a softmax over all classes.

    So the published code does it: SCLIP, NACLIP, ClearCLIP and ProxyCLIP alike. The probabilities of the classes that
    the network was asked for add up to 1.

    Attributes:
        scale: factor on the cosines in the softmax.
        background: place of the class for pixels whose most probable class is less probable than `threshold`; None for
            no such class.
        threshold: a probability.
        first: how many of the classes, from the first on, results are of; None for all. The others count in the softmax
            alone.
    """

    scale: float = 1.0
    background: int | None = None
    threshold: float = 0.0
    first: int | None = None

    def of_first(self, classes: int) -> Self:
        """The same for the first classes alone, beside the others."""
        return replace(self, first=classes)

    @torch.no_grad()
    def class_probabilities(self, place: int) -> Tensor:
        """Merge the probabilities of one class: `(height, width)`, 0..1."""
        return self._probabilities(super().class_probabilities(place))

    @torch.no_grad()
    def probabilities(self) -> Tensor:
        """Merge the probabilities of all classes that results are of: `(T, height, width)`, 0..1."""
        wanted = replace(self, logits=self.logits[:, : self._classes])
        return self._probabilities(super(ImageCosines, wanted).probabilities())

    @torch.no_grad()
    def labels(self) -> tuple[Tensor, Tensor]:
        """Find the most probable class of each pixel, without a full-size map per class.

        Returns:
            Places of the classes, int64 `(height, width)`, and the probabilities of the most probable ones, `(height,
            width)`, 0..1: a pixel that is given the background keeps the probability of what it would be otherwise.
        """
        best = torch.full(self.output_size, -torch.inf, device=self.logits.device)
        labels = torch.zeros(self.output_size, dtype=torch.int64, device=self.logits.device)
        total = best.clone()
        for start, cosines in self._merged():
            total = torch.logaddexp(total, self._log_sum(cosines))
            if start < self._classes:
                value, place = cosines[: self._classes - start].max(dim=0)
                labels = torch.where(value > best, place + start, labels)
                best = torch.maximum(value, best)
        scores = (self.scale * best - total).exp()
        if self.background is not None and self.background < self._classes:
            labels.masked_fill_(scores < self.threshold, self.background)
        return labels, scores

    @property
    def _classes(self) -> int:
        return self.logits.shape[1] if self.first is None else self.first

    @cached_property
    def _log_total(self) -> Tensor:
        """Logarithm of what the softmax divides by, `(height, width)`."""
        total = torch.full(self.output_size, -torch.inf, device=self.logits.device)
        for _, cosines in self._merged():
            total = torch.logaddexp(total, self._log_sum(cosines))
        return total

    def _log_sum(self, cosines: Tensor) -> Tensor:
        return (self.scale * cosines).logsumexp(dim=0)

    def _probabilities(self, cosines: Tensor) -> Tensor:
        return (self.scale * cosines - self._log_total).exp()
