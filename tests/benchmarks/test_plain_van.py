import torch

from benchmarks.plain.van import PlainVAN
from catseg.modeling.backbones import VAN

TINY = {"embed_dims": [8, 12, 16, 24], "depths": [1, 2, 1, 1]}


def test_plain_and_fast_agree() -> None:
    torch.manual_seed(0)
    ours, plain = VAN(**TINY), PlainVAN(**TINY)
    plain.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 60, 76)
    expected = plain(images)
    for name, value in ours(images).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.state_dict(), plain.state_dict())  # statistics of the batch norms too
