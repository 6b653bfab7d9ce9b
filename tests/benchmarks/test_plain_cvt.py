import torch

from benchmarks.plain.cvt import PlainCvT
from catseg.modeling.backbones import CvT

TINY = {"embed_dims": [8, 16, 24], "num_heads": [1, 2, 3], "depths": [1, 1, 2]}


def test_plain_and_fast_agree() -> None:
    torch.manual_seed(0)
    ours, plain = CvT(**TINY), PlainCvT(**TINY)
    plain.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 60, 76)
    expected = plain(images)
    for name, value in ours(images).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.state_dict(), plain.state_dict())  # statistics of the batch norms too
