import pytest
import torch
from torch import Tensor

from catseg.checkpoint.backbone_weights import CONVERTERS
from catseg.modeling.backbones import VAN

TINY = {"embed_dims": [8, 12, 16, 24], "depths": [1, 2, 1, 1]}


def tiny_van(**options: object) -> VAN:
    torch.manual_seed(0)
    return VAN(**TINY | options).eval()


def published(backbone: VAN) -> dict[str, Tensor]:
    """The backbone's tensors by the names of a classification file, with its head."""
    state = {"head.weight": torch.zeros(5, 24), "head.bias": torch.zeros(5)}
    for name, tensor in backbone.state_dict().items():
        _, stage, part, rest = name.split(".", 3)
        rest = rest.replace("mlp.dwconv.", "mlp.dwconv.dwconv.")
        state[f"{part.removesuffix('s')}{int(stage) + 1}.{rest}"] = tensor
    return state


def convert(state: dict[str, Tensor], backbone: VAN) -> dict[str, Tensor]:
    return CONVERTERS["VAN"](state, {name: tensor.shape for name, tensor in backbone.state_dict().items()})


def test_published_names() -> None:
    names = set(published(tiny_van()))
    assert {"patch_embed1.proj.weight", "patch_embed4.norm.running_var", "norm2.bias"} <= names
    assert {"block2.1.layer_scale_1", "block2.1.mlp.dwconv.dwconv.weight", "block3.0.norm1.weight"} <= names
    assert {"block1.0.attn.proj_1.weight", "block1.0.attn.spatial_gating_unit.conv_spatial.weight"} <= names


def test_classification_file_fills_every_tensor() -> None:
    backbone = tiny_van()
    torch.testing.assert_close(convert(published(backbone), backbone), backbone.state_dict())


def test_segmentation_file_loads_without_its_heads() -> None:
    backbone = tiny_van()
    state = {f"backbone.{name}": tensor for name, tensor in published(backbone).items() if "head" not in name}
    state |= {f"{kind}_head.conv_seg.weight": torch.zeros(1) for kind in ("decode", "auxiliary")}
    torch.testing.assert_close(convert(state, backbone), backbone.state_dict())


def test_names_of_openmmlab_load() -> None:
    backbone = tiny_van()
    state = {name.replace("dwconv.dwconv", "dwconv"): tensor for name, tensor in published(backbone).items()}
    torch.testing.assert_close(convert(state, backbone), backbone.state_dict())


def test_stages_beyond_the_last_map_are_neither_built_nor_loaded() -> None:
    full, part = tiny_van(), tiny_van(out_features=["res3"])
    assert len(part.stages) == 2
    part.load_state_dict(convert(published(full), part))
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(part(image)["res3"], full(image)["res3"])


@pytest.mark.parametrize(
    ("extra", "missing", "message"),
    [
        ("block1.0.attn.bias", "", "1 unknown: stages.0.blocks.0.attn.bias"),
        ("", "norm3.weight", "1 missing: stages.2.norm.weight"),
    ],
)
def test_other_files_are_refused(extra: str, missing: str, message: str) -> None:
    backbone = tiny_van()
    state = {name: tensor for name, tensor in published(backbone).items() if name != missing}
    if extra:
        state[extra] = torch.zeros(1)
    with pytest.raises(ValueError, match=message):
        convert(state, backbone)


def test_maps_are_layer_normed_with_the_segmentation_code_s_epsilon() -> None:
    backbone = tiny_van()
    maps = backbone(torch.randn(1, 3, 64, 64))
    for value in maps.values():
        torch.testing.assert_close(value.mean(dim=1), torch.zeros_like(value[:, 0]), atol=1e-5, rtol=0)
    assert {stage.norm.eps for stage in backbone.stages} == {1e-5}


def test_the_normed_map_feeds_the_next_stage() -> None:
    backbone = tiny_van()
    image = torch.randn(1, 3, 64, 64)
    before = backbone(image)["res3"]
    with torch.no_grad():
        backbone.stages[0].norm.weight.mul_(2)
    assert not torch.allclose(backbone(image)["res3"], before)


def test_sides_round_up() -> None:
    maps = tiny_van()(torch.randn(1, 3, 60, 76))
    assert [tuple(value.shape[2:]) for value in maps.values()] == [(15, 19), (8, 10), (4, 5), (2, 3)]


def test_drop_path_rises_over_all_stages() -> None:
    backbone = tiny_van(drop_path_rate=0.4)
    rates = [block.drop_path.drop_prob for stage in backbone.stages for block in stage.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
