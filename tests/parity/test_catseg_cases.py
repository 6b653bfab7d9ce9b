"""Cases of other networks than the stored ones: made up from the small case, as far as names and shapes go."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_resnet_backbone

from catseg.checkpoint.official import CAT_SEG
from catseg.modeling.meta_arch import CATSeg
from catseg.parity.case import ReferenceCase, UnsupportedCaseError, fill, load_case
from catseg.parity.catseg_cases import build_catseg
from catseg.vocabulary import Vocabulary

HEAD = "sem_seg_head.predictor.transformer."
GUIDANCE = {"guidance_projection.0": 24, "decoder_guidance_projection.0.0": 16, "decoder_guidance_projection.1.0": 8}


@pytest.fixture(scope="module")
def small() -> ReferenceCase:
    return load_case(Path(__file__).parents[1] / "parity/cases/catseg/v1_tiny.npz")


def changed(small: ReferenceCase, tensors: dict[str, list[int]], channels: list[int], **config: Any) -> ReferenceCase:
    """The small case with other tensors in place of the backbone's, whose maps have `channels`, coarsest first."""
    kept = {name: shape for name, shape in small.tensors.items() if not name.startswith("backbone.")}
    for (name, width), depth in zip(GUIDANCE.items(), channels, strict=True):
        kept[f"{HEAD}{name}.weight"] = [width, depth, 3, 3]
    options = small.config["options"] | config.pop("options", {})
    return replace(small, tensors=kept | tensors, buffers={}, config=small.config | config | {"options": options})


def resnet_case(small: ReferenceCase, **config: Any) -> ReferenceCase:
    """Detectron2's ResNet-101 up to `res4`, under its own names."""
    cfg = get_cfg()
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.OUT_FEATURES = 101, ["res2", "res3", "res4"]
    state = build_resnet_backbone(cfg, ShapeSpec(channels=3)).state_dict()
    tensors = {f"backbone.{name}": list(tensor.shape) for name, tensor in state.items()}
    return changed(small, tensors, [1024, 512, 256], config_file="vitb_r101_384.yaml", **config)


def version_2_case(small: ReferenceCase, **config: Any) -> ReferenceCase:
    """Attention weights apart, padding, and upsamplings of a width of 64."""
    case = changed(small, {}, [48, 256, 128], version="v2", config_file="vitl_336.yaml", **config)
    for name, shape in list(case.tensors.items()):
        if name.endswith("in_proj_weight"):
            del case.tensors[name]
            for part in "qkv":
                case.tensors[name.replace("in_proj", f"{part}_proj")] = [shape[0] // 3, shape[1]]
    for layer in range(2):
        case.tensors[f"{HEAD}layers.{layer}.attention.padding_tokens"] = [1, 1, 32]
        case.tensors[f"{HEAD}layers.{layer}.attention.padding_guidance"] = [1, 1, 16]
    case.tensors[f"{HEAD}conv1.weight"] = [32, 1, 7, 7]
    case.tensors.update({"upsample1.weight": [64, 256, 2, 2], "upsample1.bias": [256]})
    case.tensors.update({"upsample2.weight": [64, 128, 4, 4], "upsample2.bias": [128]})
    return case


def assert_filled(model: CATSeg, case: ReferenceCase, *names: str) -> None:
    state = model.state_dict()
    for name in names:
        torch.testing.assert_close(state[CAT_SEG.rename(name)], fill(name, tuple(case.tensors[name])))


def test_version_1_with_a_resnet(small: ReferenceCase, tmp_path: Path) -> None:
    options = {"MODEL.RESNETS.STEM_TYPE": "basic", "MODEL.RESNETS.DEPTH": 101, "MODEL.WEIGHTS": "R-101.pkl"}
    case = resnet_case(small, options=options)
    model = build_catseg(case, tmp_path)
    assert_filled(model, case, "backbone.stem.conv1.weight", "backbone.res4.22.conv3.norm.running_var")
    trained = {name for name, parameter in model.backbone.named_parameters() if parameter.requires_grad}
    assert {"stem.conv1.weight", "res4.22.conv3.weight"} <= trained
    assert not any("norm" in name for name in trained)
    with torch.no_grad():
        maps = model.eval().image_features(torch.from_numpy(case.inputs["square"])[None].float())[1]
    assert {name: tuple(x.shape[1:]) for name, x in maps.items()} == {
        "res2": (256, 96, 96),
        "res3": (512, 48, 48),
        "res4": (1024, 24, 24),
    }


@pytest.mark.parametrize("attention", ["linear", "full"])
def test_version_2(small: ReferenceCase, tmp_path: Path, attention: str) -> None:
    options = {"MODEL.SEM_SEG_HEAD.ATTENTION_TYPE": attention, "MODEL.SEM_SEG_HEAD.CLIP_FINETUNE": "attention"}
    case = version_2_case(small, options=options)
    model = build_catseg(case, tmp_path).eval()
    padding = f"{HEAD}layers.1.attention.padding_tokens"
    weight = "sem_seg_head.predictor.clip_model.visual.transformer.resblocks.2.attn.v_proj_weight"
    assert_filled(model, case, "upsample1.weight", "upsample2.bias", padding, weight)
    with torch.no_grad():
        text = model.text_features(Vocabulary([("a", "b"), "c"]))
        logits = model.logits(torch.from_numpy(case.inputs["square"])[None].float(), text)
    assert logits.shape == (1, 2, 96, 96)
    assert logits.isfinite().all()


def test_weights_of_the_other_version_are_refused(small: ReferenceCase, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown: backbone\.patch_embed.* missing: clip_pyramid\.upsample_res2"):
        build_catseg(replace(small, config=small.config | {"version": "v2", "config_file": "vitb_384.yaml"}), tmp_path)


def test_config_files_belong_to_a_version(small: ReferenceCase, tmp_path: Path) -> None:
    case = replace(small, config=small.config | {"config_file": "vitb_384.yaml"})
    with pytest.raises(UnsupportedCaseError, match=r"known are vitl_swinb_384.yaml, vitb_r101_384.yaml"):
        build_catseg(case, tmp_path)
