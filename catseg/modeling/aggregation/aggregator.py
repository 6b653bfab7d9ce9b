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

MASKED_LOGIT = -100.0  # of classes that are not among a crop's best


class AggregationLayer(nn.Module):
    """Spatial, then class aggregation."""

    def __init__(self, *, spatial: SpatialAggregation, class_: ClassAggregation) -> None:
        super().__init__()
        self.spatial = spatial
        self.class_ = class_

    def forward(self, x: Tensor, appearance: Tensor, text: Tensor, *, classes_per_chunk: int) -> Tensor:
        """Map `(B, T, H, W, D)` to the same shape, with guidance `(B, H, W, G)` and `(B or 1, T, G')`."""
        x = self.spatial(x, appearance, classes_per_chunk=classes_per_chunk)
        return self.class_(x, text, classes_per_chunk=classes_per_chunk)


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
            max_classes: at most this many classes of a crop are aggregated, those with the highest cosine anywhere in
                it; the others get a masked logit (CAT-Seg v2). 0 for no limit.
            max_classes_test: a further limit in inference, for speed; results then differ from the published ones.
            activation_checkpointing: recompute layers and decoder in the backward pass to save memory.
        """
        super().__init__()
        self.cost_embedding = cost_embedding
        self.guidance = guidance
        self.layers = nn.ModuleList(layers)
        self.decoder = decoder
        self.max_classes, self.max_classes_test = max_classes, max_classes_test
        self.activation_checkpointing = activation_checkpointing

    def forward(
        self, image_features: Tensor, maps: Sequence[Tensor], text_features: Tensor, *, class_maps_per_chunk: int
    ) -> Tensor:
        """Compute logits.

        Args:
            image_features: dense CLIP features `(B, H, W, C)`.
            maps: backbone maps `(B, channels, ...)`, finest first, the coarsest `H x W`.
            text_features: `(T, P, C)`, L2-normalised.
            class_maps_per_chunk: class maps to work on at once, see `ChunkSizes`. Where no gradient is recorded, crops
                that have more classes than this are worked on one after the other.

        Returns:
            `(B, T, 4 * H, 4 * W)`.
        """
        together = (
            len(image_features) if torch.is_grad_enabled() else max(1, class_maps_per_chunk // len(text_features))
        )
        if together >= len(image_features):
            classes = max(1, class_maps_per_chunk // len(image_features))
            return self._logits(image_features, maps, text_features, classes_per_chunk=classes)
        pyramids = zip(*(level.split(together) for level in maps), strict=True)
        crops = zip(image_features.split(together), pyramids, strict=True)
        classes = class_maps_per_chunk // together
        return torch.cat(
            [self._logits(dense, levels, text_features, classes_per_chunk=classes) for dense, levels in crops]
        )

    def _logits(
        self, image_features: Tensor, maps: Sequence[Tensor], text_features: Tensor, *, classes_per_chunk: int
    ) -> Tensor:
        """Compute logits of crops that are worked on together, `classes_per_chunk` classes at once."""
        number = len(text_features)
        text_features = text_features.unsqueeze(0)
        limits = (self.max_classes, 0 if self.training else self.max_classes_test)
        kept = min((limit for limit in limits if limit), default=number)
        if kept >= number:
            return self._aggregate(image_features, maps, text_features, classes_per_chunk=classes_per_chunk)
        best = best_classes(image_features, text_features, number=kept, classes_per_chunk=classes_per_chunk)
        logits = self._aggregate(image_features, maps, text_features[0][best], classes_per_chunk=classes_per_chunk)
        masked = logits.new_full((len(logits), number, *logits.shape[2:]), MASKED_LOGIT)
        return masked.scatter(1, best[..., None, None].expand_as(logits), logits)

    def _aggregate(
        self, image_features: Tensor, maps: Sequence[Tensor], text_features: Tensor, *, classes_per_chunk: int
    ) -> Tensor:
        """Compute logits from text features `(B, T, P, C)`, or `(1, T, P, C)` if all crops share them."""
        recording = torch.is_grad_enabled()
        appearance, text, decoder_guidance = self.guidance(maps, text_features)
        x = self.cost_embedding(image_features, text_features, classes_per_chunk=classes_per_chunk)
        for layer in self.layers:
            if recording and self.activation_checkpointing:
                x = checkpoint(layer, x, appearance, text, classes_per_chunk=classes_per_chunk, use_reentrant=False)
            else:
                x = layer(x, appearance, text, classes_per_chunk=classes_per_chunk)
        if recording and self.activation_checkpointing:
            return checkpoint(
                self.decoder, x, decoder_guidance, classes_per_chunk=classes_per_chunk, use_reentrant=False
            )
        return self.decoder(x, decoder_guidance, classes_per_chunk=classes_per_chunk)
