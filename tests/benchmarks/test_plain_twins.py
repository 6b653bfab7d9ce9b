import pytest
import torch

from benchmarks.plain.twins import PlainTwins
from catseg.modeling.backbones import TwinsPCPVT, TwinsSVT

TINY = {
    "embed_dims": [8, 12, 16, 24], "num_heads": [1, 2, 2, 4], "depths": [2, 2, 1, 1], "mlp_ratios": [4, 4, 2, 2],
}  # fmt: skip


@pytest.mark.parametrize("size", [(64, 64), (64, 112), (84, 84), (70, 101)])
@pytest.mark.parametrize(("family", "options"), [(TwinsPCPVT, {}), (TwinsSVT, {"window_sizes": [7, 3, 2, 2]})])
def test_plain_and_fast_agree(family: type, options: dict[str, list[int]], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours, plain = family(**TINY, **options), PlainTwins(**TINY, **options)
    plain.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, *size)
    expected = plain(images)
    for name, value in ours(images).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-4)
