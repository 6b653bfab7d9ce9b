"""The aggregator: from dense features and text features to logits (sections 3.2 to 3.4 of the paper).

Shapes: B crops, T classes, P prompt templates, C joint embedding width, H x W cost resolution, D hidden width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from catseg.modeling.aggregation.class_aggregation import ClassAggregation
from catseg.modeling.aggregation.cost_volume import CostEmbedding, best_classes
from catseg.modeling.aggregation.guidance import Guidance
from catseg.modeling.aggregation.spatial_aggregation import SpatialAggregation
from catseg.modeling.aggregation.upsampling_decoder import UpsamplingDecoder

ABSENT_LOGIT = -100.0  # of classes that are not among a crop's best


class AggregationLayer(nn.Module):
    """Spatial, then class aggregation."""

    def __init__(self, *, spatial: SpatialAggregation, class_: ClassAggregation) -> None:
        super().__init__()
        self.spatial = spatial
        self.class_ = class_

    def forward(self, x: Tensor, appearance: Tensor, text: Tensor, *, chunk: int) -> Tensor:
        """Map `(B, T, H, W, D)` to the same shape, with guidance `(B, H, W, G)` and `(B or 1, T, G')`."""
        return self.class_(self.spatial(x, appearance, chunk=chunk), text, chunk=chunk)


class Aggregator(nn.Module):
    """Embeds the cost volume, aggregates it layer by layer and decodes it."""

    def __init__(
        self,
        *,
        cost_embedding: CostEmbedding,
        guidance: Guidance,
        layers: Sequence[AggregationLayer],
        decoder: UpsamplingDecoder,
        max_classes: int = 0,
        max_classes_test: int = 0,
        activation_checkpointing: bool = False,
    ) -> None:
        """Join the parts.

        Args:
            cost_embedding: gives D channels.
            guidance: gives the widths that `layers` and `decoder` expect.
            layers: at least one.
            decoder: takes D channels.
            max_classes: where there are more classes, those with the highest cosine anywhere in a crop are aggregated,
                this many, and the others are held absent from it (CAT-Seg v2); 0 for no limit.
            max_classes_test: a limit in inference besides, for speed: not exact where it takes effect.
            activation_checkpointing: recompute layers and decoder in the backward pass to save memory.
        """
        super().__init__()
        self.cost_embedding = cost_embedding
        self.guidance = guidance
        self.layers = nn.ModuleList(layers)
        self.decoder = decoder
        self.max_classes, self.max_classes_test = max_classes, max_classes_test
        self.activation_checkpointing = activation_checkpointing

    def forward(self, image_features: Tensor, maps: Sequence[Tensor], text_features: Tensor, *, chunk: int) -> Tensor:
        """Compute logits.

        Args:
            image_features: dense CLIP features `(B, H, W, C)`.
            maps: backbone maps `(B, channels, ...)`, finest first, the coarsest `H x W`.
            text_features: `(T, P, C)`, L2-normalised.
            chunk: class maps to work on at once; the result does not depend on it. Where no gradient is recorded, the
                crops are worked on one after the other if each alone has more.

        Returns:
            `(B, T, 4 * H, 4 * W)`.
        """
        together = len(image_features) if torch.is_grad_enabled() else max(1, chunk // len(text_features))
        if together >= len(image_features):
            return self._logits(image_features, maps, text_features, chunk=max(1, chunk // len(image_features)))
        pyramids = zip(*(level.split(together) for level in maps), strict=True)
        crops = zip(image_features.split(together), pyramids, strict=True)
        return torch.cat(
            [self._logits(dense, levels, text_features, chunk=chunk // together) for dense, levels in crops]
        )

    def _logits(self, image_features: Tensor, maps: Sequence[Tensor], text_features: Tensor, *, chunk: int) -> Tensor:
        """As `forward`, for `chunk` classes of all crops at once."""
        number = len(text_features)
        text_features = text_features.unsqueeze(0)
        limits = (self.max_classes, 0 if self.training else self.max_classes_test)
        kept = min((limit for limit in limits if limit), default=number)
        if kept >= number:
            return self._aggregate(image_features, maps, text_features, chunk=chunk)
        best = best_classes(image_features, text_features, number=kept, chunk=chunk)
        logits = self._aggregate(image_features, maps, text_features[0][best], chunk=chunk)
        absent = logits.new_full((len(logits), number, *logits.shape[2:]), ABSENT_LOGIT)
        return absent.scatter(1, best[..., None, None].expand_as(logits), logits)

    def _aggregate(
        self, image_features: Tensor, maps: Sequence[Tensor], text_features: Tensor, *, chunk: int
    ) -> Tensor:
        """As `forward`, for text features `(B, T, P, C)`, or `(1, T, P, C)` for all crops."""
        recording = torch.is_grad_enabled()
        appearance, text, decoder_guidance = self.guidance(maps, text_features)
        x = self.cost_embedding(image_features, text_features, chunk=chunk)
        for layer in self.layers:
            if recording and self.activation_checkpointing:
                x = checkpoint(layer, x, appearance, text, chunk=chunk, use_reentrant=False)
            else:
                x = layer(x, appearance, text, chunk=chunk)
        if recording and self.activation_checkpointing:
            return checkpoint(self.decoder, x, decoder_guidance, chunk=chunk, use_reentrant=False)
        return self.decoder(x, decoder_guidance, chunk=chunk)
