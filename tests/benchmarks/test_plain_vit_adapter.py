import torch

from benchmarks.plain.vit_adapter import PlainViTAdapter
from catseg.modeling.backbones import ViTAdapter

TINY = {
    "embed_dim": 24, "num_heads": 3, "deform_num_heads": 2, "deform_ratio": 0.5, "pretrain_size": 64, "depth": 4,
    "interaction_indexes": [(i, i) for i in range(4)],
}  # fmt: skip


def test_plain_and_fast_agree() -> None:
    torch.manual_seed(0)
    ours, plain = ViTAdapter(**TINY), PlainViTAdapter(**TINY)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    plain.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 64, 96)
    expected = plain(images)
    for name, value in ours(images).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.state_dict(), plain.state_dict())  # statistics of the batch norms too
