import torch

from benchmarks.plain.mpvit import PlainMPViT
from catseg.modeling.backbones import MPViT

SMALL = {"embed_dims": (8, 16, 24, 32), "depths": (1, 2, 1, 1), "num_paths": (2, 3, 1, 2), "mlp_ratios": (2, 2, 4, 3)}


def test_plain_mpvit_gives_the_same_maps() -> None:
    ours, plain = MPViT(**SMALL).eval(), PlainMPViT(**SMALL).eval()
    plain.load_state_dict(ours.state_dict())
    image = torch.randn(2, 3, 62, 75)
    with torch.no_grad():
        expected = plain(image)
        for name, value in ours(image).items():
            torch.testing.assert_close(value, expected.pop(name), rtol=1e-4, atol=1e-5)
    assert not expected
