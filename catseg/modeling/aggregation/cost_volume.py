"""The cost volume between image and text, and its embedding (section 3.2 of the paper).

Shapes: B crops, T classes, P prompt templates, C joint embedding width, H x W cost resolution, D hidden width.
"""

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from catseg.modeling.layers.chunking import map_chunks
from catseg.modeling.layers.fourier import kernel_spectrum, maps_of, padded_size, spectrum

FOURIER_TEMPLATES = 16  # from this many templates on, the convolution is cheaper in the frequency domain
FOURIER_CLASSES = 32  # embedded there at once, at least, since each chunk reads the whole kernel spectrum


def cosine_cost_volume(image_features: Tensor, text_features: Tensor) -> Tensor:
    """Cosine similarity of every pixel with every class and template.

    Args:
        image_features: `(B, H, W, C)`, L2-normalised.
        text_features: `(B, T, P, C)`, or `(1, T, P, C)` if all crops share them, L2-normalised.

    Returns:
        `(B, T, H, W, P)` with values in -1..1.
    """
    cost = image_features.flatten(1, 2) @ text_features.flatten(1, 2).transpose(1, 2)
    return rearrange(
        cost, "b (h w) (t p) -> b t h w p", h=image_features.shape[1], p=text_features.shape[2]
    ).contiguous()


@torch.no_grad()
def best_classes(image_features: Tensor, text_features: Tensor, *, number: int, classes_per_chunk: int) -> Tensor:
    """Find the classes with the highest cosine anywhere in a crop, with any template (CAT-Seg v2).

    Cosines are at least float32 under any autocast: in half precision too many are equal.

    Args:
        image_features: `(B, H, W, C)`, of any norm.
        text_features: `(1, T, P, C)`, L2-normalised.
        number: classes wanted, at most T.
        classes_per_chunk: classes to look at at once.

    Returns:
        `(B, number)`, int64: class indices in no particular order.
    """
    dtype = torch.promote_types(image_features.dtype, torch.float32)
    image_features = F.normalize(image_features.to(dtype), dim=-1)

    def highest(text: Tensor) -> Tensor:
        with torch.autocast(text.device.type, enabled=False):
            return cosine_cost_volume(image_features, text.to(dtype)).amax(dim=(2, 3, 4))

    return map_chunks(highest, text_features, dim=1, size=classes_per_chunk).topk(number, dim=1, sorted=False).indices


class CostEmbedding(nn.Module):
    """Embeds the cost map of each class by a convolution `conv` from P templates to D channels.

    With many templates it is computed in the frequency domain, as one product per frequency. The cost volume is linear
    in the image features, so these are transformed in its place. Autocast is off: classes differ by less than half
    precision resolves.
    """

    def __init__(self, *, num_templates: int, hidden_dim: int, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_templates, hidden_dim, kernel_size, padding=kernel_size // 2)

    def forward(self, image_features: Tensor, text_features: Tensor, *, classes_per_chunk: int) -> Tensor:
        """Embed the cost volume.

        Args:
            image_features: `(B, H, W, C)`, of any norm.
            text_features: `(B, T, P, C)`, or `(1, T, P, C)` if all crops share them, L2-normalised.
            classes_per_chunk: classes to embed at once.

        Returns:
            `(B, T, H, W, D)`.
        """
        with torch.autocast(image_features.device.type, enabled=False):
            dtype = self.conv.weight.dtype
            image_features = F.normalize(image_features.to(dtype), dim=-1)
            text_features = text_features.to(dtype)
            if dtype in (torch.float32, torch.float64) and text_features.shape[2] >= FOURIER_TEMPLATES:
                embed = self._in_frequency_domain(image_features)
                return map_chunks(embed, text_features, dim=1, size=max(classes_per_chunk, FOURIER_CLASSES))
            return map_chunks(partial(self._convolve, image_features), text_features, dim=1, size=classes_per_chunk)

    def _convolve(self, image_features: Tensor, text: Tensor) -> Tensor:
        """Embed the cost of L2-normalised image features and text features `(B or 1, T, P, C)` of some classes."""
        cost = cosine_cost_volume(image_features, text)
        maps = self.conv(cost.flatten(0, 1).permute(0, 3, 1, 2))
        return maps.permute(0, 2, 3, 1).unflatten(0, cost.shape[:2])

    def _in_frequency_domain(self, image_features: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the same function of text features as `_convolve`, computed in the frequency domain."""
        size = (image_features.shape[1], image_features.shape[2])
        padded = padded_size(size, self.conv.kernel_size[0])
        image, kernel = spectrum(image_features, padded), kernel_spectrum(self.conv.weight, padded)

        def embed(text: Tensor) -> Tensor:
            classes = text.shape[1]
            prompts = text.flatten(1, 2).transpose(1, 2)
            parts = (part.transpose(0, 1) @ prompts for part in (image.real, image.imag))
            cost = rearrange(torch.complex(*parts), "b f (t p) -> f (b t) p", t=classes)
            maps = maps_of(torch.bmm(cost, kernel), padded, size) + cast(Tensor, self.conv.bias)
            return maps.unflatten(0, (-1, classes))

        return embed
