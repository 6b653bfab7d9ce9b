import pytest
import torch
from torch import Tensor

from catseg.checkpoint.backbone_weights import CONVERTERS
from catseg.modeling.backbones import CvT

TINY = {"embed_dims": [8, 16, 24], "num_heads": [1, 2, 3], "depths": [1, 1, 3]}


def tiny_cvt(**options: object) -> CvT:
    torch.manual_seed(0)
    return CvT(**TINY | options).eval()


def published(backbone: CvT) -> dict[str, Tensor]:
    """The backbone's tensors by the names of a classification file, with its last norm and head."""
    state = {name.replace("stages.", "stage", 1): tensor for name, tensor in backbone.state_dict().items()}
    return state | {f"{part}.{kind}": torch.zeros(5) for part in ("norm", "head") for kind in ("weight", "bias")}


def convert(state: dict[str, Tensor], backbone: CvT) -> dict[str, Tensor]:
    return CONVERTERS["CvT"](state, {name: tensor.shape for name, tensor in backbone.state_dict().items()})


def test_published_names() -> None:
    names = set(published(tiny_cvt()))
    assert {"stage0.patch_embed.proj.weight", "stage1.patch_embed.norm.bias", "stage2.cls_token"} <= names
    block = {"attn.conv_proj_k.conv.weight", "attn.conv_proj_v.bn.running_mean", "attn.proj_q.bias", "mlp.fc2.weight"}
    assert {f"stage2.blocks.2.{name}" for name in block} <= names


def test_classification_file_fills_every_tensor() -> None:
    backbone = tiny_cvt()
    torch.testing.assert_close(convert(published(backbone), backbone), backbone.state_dict())


def test_stages_beyond_the_last_map_are_neither_built_nor_loaded() -> None:
    full, part = tiny_cvt(), tiny_cvt(out_features=["res2"])
    assert len(part.stages) == 1
    part.load_state_dict(convert(published(full), part))
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(part(image)["res2"], full(image)["res2"])


@pytest.mark.parametrize(
    ("extra", "missing", "message"),
    [
        ("stage0.cls_token", "", "1 unknown: stages.0.cls_token"),
        ("", "stage2.cls_token", "1 missing: stages.2.cls_token"),
    ],
)
def test_other_files_are_refused(extra: str, missing: str, message: str) -> None:
    backbone = tiny_cvt()
    state = {name: tensor for name, tensor in published(backbone).items() if name != missing}
    if extra:
        state[extra] = torch.zeros(1)
    with pytest.raises(ValueError, match=message):
        convert(state, backbone)


def test_there_is_no_map_of_stride_32() -> None:
    with pytest.raises(ValueError, match=r"OUT_FEATURES must name some of \['res2', 'res3', 'res4'\], got .*res5"):
        tiny_cvt(out_features=["res4", "res5"])


def test_the_class_token_changes_the_last_map_alone() -> None:
    backbone = tiny_cvt()
    image = torch.randn(1, 3, 64, 64)
    before = backbone(image)
    with torch.no_grad():
        backbone.stages[2].cls_token.normal_()
    after = backbone(image)
    assert torch.equal(after["res3"], before["res3"])
    assert not torch.allclose(after["res4"], before["res4"], atol=1e-4)


def test_the_attention_s_scale_is_that_of_the_stage() -> None:
    scales = [stage.blocks[0].attn.scale for stage in tiny_cvt().stages]
    assert scales == pytest.approx([8**-0.5, 16**-0.5, 24**-0.5])


def test_epsilons() -> None:
    norms = [m for m in tiny_cvt().modules() if isinstance(m, torch.nn.LayerNorm | torch.nn.BatchNorm2d)]
    assert {norm.eps for norm in norms} == {1e-5}


def test_first_embedding_rounds_as_its_padding_of_two_says() -> None:
    maps = tiny_cvt()(torch.randn(1, 3, 62, 63))
    assert [tuple(value.shape[2:]) for value in maps.values()] == [(15, 16), (8, 8), (4, 4)]


def test_drop_path_rises_within_the_last_stage() -> None:
    backbone = tiny_cvt(drop_path_rate=0.4)
    rates = [block.drop_path.drop_prob for stage in backbone.stages for block in stage.blocks]
    assert rates == pytest.approx([0, 0, 0, 0.2, 0.4])
