"""The plain transcriptions compute what the backbones compute, from the same state dict."""

from typing import Any

import pytest
import torch

from benchmarks.backbone_speed import PLAIN
from catseg.modeling import backbones

TWINS = {"embed_dims": (8, 12, 16, 24), "num_heads": (1, 2, 2, 4), "depths": (2, 2, 1, 1), "mlp_ratios": (4, 4, 2, 2)}
SMALL: dict[str, dict[str, Any]] = {
    "D2SwinTransformer": {
        "embed_dim": 8, "depths": (2, 2, 2, 1), "num_heads": (1, 2, 4, 8), "window_size": 4,
        "out_features": ("res2", "res3", "res4", "res5"),
    },
    "VAN": {"embed_dims": (8, 12, 16, 24), "depths": (1, 2, 1, 1)},
    "CvT": {"embed_dims": (8, 16, 24), "num_heads": (1, 2, 3), "depths": (1, 1, 2)},
    "TwinsPCPVT": TWINS,
    "TwinsSVT": TWINS | {"window_sizes": (7, 3, 2, 2)},
    "ViTAdapter": {
        "embed_dim": 24, "num_heads": 3, "deform_num_heads": 2, "deform_ratio": 0.5, "pretrain_size": 64, "depth": 4,
        "interaction_indexes": [(i, i) for i in range(4)],
    },
    "MPViT": {
        "embed_dims": (8, 16, 24, 32), "depths": (1, 2, 1, 1), "num_paths": (2, 3, 1, 2), "mlp_ratios": (2, 2, 4, 3),
    },
}  # fmt: skip
SIZES = {
    "TwinsSVT": [(64, 64), (64, 112), (84, 84), (70, 101)],  # padding on both sides, on one and on none
    "ViTAdapter": [(64, 96)],  # sides are multiples of 32
}


@pytest.mark.parametrize(
    ("name", "size"), [(name, size) for name in SMALL for size in SIZES.get(name, [(64, 96), (62, 75)])]
)
def test_plain_and_fast_agree(name: str, size: tuple[int, int]) -> None:
    ours = getattr(backbones, name)(**SMALL[name])
    plain = PLAIN[name](**{key: value for key, value in SMALL[name].items() if key != "out_features"})
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter += 0.1 * torch.randn_like(parameter)  # no branch is switched off by its initial weights
    plain.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, *size)
    expected = plain(images)
    for key, value in ours(images).items():
        torch.testing.assert_close(value, expected.pop(key), rtol=1e-4, atol=1e-4)
    assert not expected
    torch.testing.assert_close(ours.state_dict(), dict(plain.state_dict()))  # statistics of the batch norms too


def test_every_transcription_is_tested() -> None:
    assert set(SMALL) == set(PLAIN)
