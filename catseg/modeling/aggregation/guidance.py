"""Guidance of the aggregation by backbone maps and text features (sections 3.2 and 3.3)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from catseg.errors import InputError


class Guidance(nn.Module):
    """Projects backbone maps and text features to guidance for the aggregation and the decoder.

    The backbone maps come finest first; the coarsest one guides the aggregation, the others the decoder.
    """

    def __init__(
        self,
        *,
        map_dims: Sequence[int],
        text_dim: int,
        appearance_dim: int,
        text_guidance_dim: int,
        decoder_dims: Sequence[int],
    ) -> None:
        """Build the projections.

        Args:
            map_dims: channels of the backbone maps, finest first.
            text_dim: width of the text features.
            appearance_dim: width of the appearance guidance.
            text_guidance_dim: width of the text guidance.
            decoder_dims: widths of the decoder's guidance, coarsest first: one for each map but the coarsest.

        Raises:
            ValueError: if the numbers of maps and of widths do not fit.
        """
        super().__init__()
        *fine, coarsest = map_dims
        if len(fine) != len(decoder_dims):
            raise InputError(
                "the head needs one backbone map more (IN_FEATURES) than DECODER_GUIDANCE_PROJ_DIMS "
                f"{list(decoder_dims)} has widths, got maps of {list(map_dims)} channels"
            )
        self.appearance = nn.Conv2d(coarsest, appearance_dim, 3, padding=1)
        self.text = nn.Linear(text_dim, text_guidance_dim)
        self.decoder = nn.ModuleList(
            nn.Conv2d(channels, width, 3, padding=1)
            for channels, width in zip(reversed(fine), decoder_dims, strict=True)
        )

    def forward(self, maps: Sequence[Tensor], text_features: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Project.

        Args:
            maps: backbone maps `(B, channels, H_i, W_i)`, finest first.
            text_features: `(B, T, P, C)`, or `(1, T, P, C)` if all crops share them, L2-normalised; averaged over the
                templates and normalised again.

        Returns:
            The appearance guidance `(B, H, W, G)`, the text guidance `(B or 1, T, G)` and the decoder's guidance maps
            `(B, G_i, H_i, W_i)`, coarsest first. All are non-negative.
        """
        *fine, coarsest = maps
        appearance = F.relu(self.appearance(coarsest)).permute(0, 2, 3, 1)
        text = F.relu(self.text(F.normalize(text_features.mean(dim=2), dim=-1)))
        decoder = [F.relu(conv(x)) for conv, x in zip(self.decoder, reversed(fine), strict=True)]
        return appearance, text, decoder
