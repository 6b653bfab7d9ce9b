import torch
from open_clip.model import CLIP

from catseg.modeling.clip.projections import separate_projections, value_projection
from tests.tiny import CLIP_CONFIG


def test_separate_weights_change_names_and_nothing_else() -> None:
    clip = CLIP(**CLIP_CONFIG).eval()
    attention = clip.visual.transformer.resblocks[1].attn
    torch.nn.init.normal_(attention.in_proj_bias)
    before = {name: tensor.clone() for name, tensor in clip.state_dict().items()}
    images, tokens = torch.rand(2, 3, 32, 32), torch.randint(1, 999, (2, 24))
    expected = clip.encode_image(images), clip.encode_text(tokens)
    separate_projections(clip)
    torch.testing.assert_close((clip.encode_image(images), clip.encode_text(tokens)), expected)
    after = clip.state_dict()
    name = "visual.transformer.resblocks.1.attn"
    joined = torch.cat([after[f"{name}.{part}_proj_weight"] for part in "qkv"])
    assert torch.equal(joined, before[f"{name}.in_proj_weight"])
    assert not any("in_proj_weight" in name for name in after)
    assert {name for name in before if "in_proj_weight" not in name} <= set(after)


def test_separating_twice_is_separating_once() -> None:
    clip = CLIP(**CLIP_CONFIG)
    separate_projections(clip)
    weight = clip.transformer.resblocks[0].attn.q_proj_weight
    separate_projections(clip)
    assert clip.transformer.resblocks[0].attn.q_proj_weight is weight


def test_value_projection_is_the_same_joint_or_separate() -> None:
    attention = torch.nn.MultiheadAttention(8, 2)
    torch.nn.init.normal_(attention.in_proj_bias)
    joint = [tensor.detach().clone() for tensor in value_projection(attention)]
    separate_projections(attention)
    separate = value_projection(attention)
    assert all(torch.equal(*pair) for pair in zip(joint, separate, strict=True))
    separate[0].sum().backward()
    assert attention.v_proj_weight.grad.min() == 1
    assert attention.q_proj_weight.grad.abs().max() == 0  # there, for training on several GPUs, and zero
