"""Every shipped config loads, names only known keys and datasets, and builds at reduced size."""

from pathlib import Path

import pytest
import timm
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import BACKBONE_REGISTRY, build_model

from catseg.config import load_config
from catseg.data.registration import register_datasets
from catseg.modeling.clip.loading import model_config
from catseg.modeling.training_free.last_block import METHODS
from catseg.modeling.tta import view_from_config
from tests.tiny import option_words, tiny_options

CONFIGS = sorted(path for path in Path("configs").rglob("*.yaml") if path.name != "base.yaml")
# One config per backbone; tests/modeling/backbones/test_registry.py builds all sizes.
DISTINCT = {load_config(path).MODEL.BACKBONE.NAME: path for path in reversed(CONFIGS)}.values()


TRAINING_FREE = [path for path in CONFIGS if path.stem.startswith("training_free")]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_loads_and_names_known_datasets(path: Path) -> None:
    register_datasets()
    cfg = load_config(path)
    assert f"output/{path.stem}" == cfg.OUTPUT_DIR
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        assert len(MetadataCatalog.get(name).stuff_classes) > 1


@pytest.mark.parametrize("path", DISTINCT, ids=lambda path: path.stem)
def test_config_builds_at_reduced_size_and_runs(path: Path, tmp_path: Path) -> None:
    full = load_config(path)
    options = tiny_options(tmp_path)
    options["MODEL.BACKBONE.NAME"] = full.MODEL.BACKBONE.NAME
    if full.MODEL.BACKBONE.NAME:
        family = BACKBONE_REGISTRY.get(full.MODEL.BACKBONE.NAME)
        options["MODEL.BACKBONE.SIZE"] = next(iter(getattr(family, "sizes", [])), full.MODEL.BACKBONE.SIZE)
    model = build_model(load_config(path, option_words(options))).eval()
    model.set_vocabulary(["sky", "sea"])
    (result,) = model([{"image": torch.randint(256, (3, 30, 40), dtype=torch.uint8)}])
    assert result["sem_seg"].shape == (2, 30, 40)


@pytest.mark.parametrize("path", TRAINING_FREE, ids=lambda path: path.stem)
def test_config_without_training_builds_at_reduced_size_and_runs(path: Path, tmp_path: Path) -> None:
    full = load_config(path)
    options = tiny_options(tmp_path)
    assert full.MODEL.TRAINING_FREE.METHOD in METHODS
    assert full.MODEL.WEIGHTS == full.MODEL.BACKBONE.NAME == ""
    if full.MODEL.TRAINING_FREE.PROXY:
        assert timm.is_model_pretrained(full.MODEL.TRAINING_FREE.PROXY)
        options |= {"MODEL.TRAINING_FREE.PROXY": "test_vit", "MODEL.TRAINING_FREE.PROXY_WEIGHTS": ""}
    if full.TEST.SLIDING_WINDOW:  # windows are whole patches
        patch = model_config(full.MODEL.CLIP.NAME)["vision_cfg"]["patch_size"]
        assert [full.TEST.SLIDING_KERNEL // patch] * 2 == full.MODEL.SEM_SEG_HEAD.FEATURE_RESOLUTION
    model = build_model(load_config(path, option_words(options))).eval()
    model.set_vocabulary(["sky", "sea"])
    (result,) = model([{"image": torch.randint(256, (3, 30, 40), dtype=torch.uint8)}])
    torch.testing.assert_close(result["sem_seg"].sum(dim=0), torch.ones(30, 40))


@pytest.mark.parametrize(
    ("setting", "resolution", "kernel", "stride", "scale"),
    [
        ("naclip", 336, 224, 112, 40),
        ("sclip", 336, 224, 112, 40),
        ("clearclip", 448, 448, 224, 50),
        ("proxyclip", 336, 336, 112, 40),
    ],
)
def test_published_settings_without_training(
    setting: str, resolution: int, kernel: int, stride: int, scale: float
) -> None:
    cfg = load_config(f"configs/training_free_{setting}.yaml")
    assert (resolution, 2048) == (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
    view = view_from_config(cfg)
    assert view.starts(3 * kernel)[:2] == [0, stride]
    assert (view.kernel, view.whole_image, view.size) == (kernel, False, (0, 0))
    options = cfg.MODEL.TRAINING_FREE
    assert (setting, scale) == (options.METHOD, options.LOGIT_SCALE)
    assert ((True, True) if setting == "sclip" else (False, False)) == (options.RESIDUAL, options.MLP)
    assert cfg.MODEL.CLIP.TEMPLATES == "imagenet"


@pytest.mark.parametrize(
    ("name", "backbone", "multiplier", "clip", "weights"),
    [
        ("v1_base", "build_resnet_backbone", 0.01, "ViT-B-16-quickgelu", "openai"),
        ("v1_large", "D2SwinTransformer", 0, "ViT-L-14-336-quickgelu", "openai"),
        ("v1_huge", "D2SwinTransformer", 0, "ViT-H-14", "laion2b_s32b_b79k"),
        ("v1_giant", "D2SwinTransformer", 0, "ViT-bigG-14", "laion2b_s39b_b160k"),
        ("v2_base", "", 0, "ViT-B-16-quickgelu", "openai"),
        ("v2_large", "", 0, "ViT-L-14-336-quickgelu", "openai"),
    ],
)
def test_published_models(name: str, backbone: str, multiplier: float, clip: str, weights: str) -> None:
    cfg = load_config(f"configs/catseg_{name}.yaml")
    assert (backbone, multiplier) == (cfg.MODEL.BACKBONE.NAME, cfg.SOLVER.BACKBONE_MULTIPLIER)
    assert (clip, weights) == (cfg.MODEL.CLIP.NAME, cfg.MODEL.CLIP.WEIGHTS)
    head, options = cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.CLIP
    assert (("query_value", "single", True, 256) if name.startswith("v2") else ("attention", "imagenet", False, 0)) == (
        options.FINETUNE,
        options.TEMPLATES,
        options.FIRST_SYNONYM_ONLY,
        head.CLASS_TOKENS,
    )
    assert _pretrained_size(cfg) == (224 if name.endswith("base") else 336)


def _pretrained_size(cfg: CfgNode) -> int:
    return cfg.MODEL.CLIP.IMAGE_SIZE or model_config(cfg.MODEL.CLIP.NAME)["vision_cfg"]["image_size"]


def test_published_setting() -> None:
    cfg = load_config("configs/catseg_ade150.yaml")
    assert cfg.DATASETS.TRAIN == ("coco_2017_train_stuff_all_sem_seg",)
    assert cfg.DATASETS.TEST == ("ade20k_150_test_sem_seg",)
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.BASE_LR) == (80000, 4, 2e-4)
    assert (cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE, cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE) == ("full_model", 0.01)
    assert (cfg.SOLVER.WEIGHT_DECAY, cfg.SOLVER.WEIGHT_DECAY_NORM, cfg.SOLVER.WEIGHT_DECAY_EMBED) == (1e-4, 0, 0)
    assert (cfg.SOLVER.BACKBONE_MULTIPLIER, cfg.SOLVER.CLIP_MULTIPLIER) == (0, 0.01)
    assert (cfg.TEST.SLIDING_SIZE, cfg.TEST.SLIDING_KERNEL, cfg.TEST.SLIDING_OVERLAP) == ([640, 640], 384, 0.333)
    assert (cfg.MODEL.SWIN.EMBED_DIM, cfg.MODEL.SWIN.DEPTHS, cfg.MODEL.SWIN.WINDOW_SIZE) == (128, [2, 2, 18], 12)
    assert (cfg.MODEL.CLIP.NAME, cfg.MODEL.CLIP.WEIGHTS) == ("ViT-L-14-336-quickgelu", "openai")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["SOLVER.MAX_ITER"], "KEY VALUE pairs, got 1 words"),
        (["MODEL.SWAN.DEPTHS", "[1]"], r"no config key MODEL.SWAN.DEPTHS; did you mean MODEL.SWIN.DEPTHS"),
        (["QQQ.WWW", "1"], r"no config key QQQ.WWW; catseg/config.py lists"),
        (["FOO", "1"], r"no config key FOO"),
        (["model.weights", "x"], r"no config key model.weights; did you mean MODEL.WEIGHTS"),
        (["SOLVER.MAX_ITER", "many"], r"^SOLVER.MAX_ITER is 'many', expected a whole number \(overrides: SOLVER"),
        (["MODEL.CLIP", "ViT-B-16"], r"MODEL.CLIP is 'ViT-B-16', expected keys of its own below it"),
    ],
)
def test_bad_overrides_are_named(options: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_config("configs/base.yaml", options)


def test_unknown_keys_in_a_file_are_named(tmp_path: Path) -> None:
    config = tmp_path / "wrong.yaml"
    config.write_text("MODEL:\n  CLIP:\n    NAMES: ViT-B-16\n")
    with pytest.raises(ValueError, match=r"no config key MODEL.CLIP.NAMES; did you mean MODEL.CLIP.NAME"):
        load_config(config)


@pytest.mark.parametrize("content", ["MODEL: [", "", "- 1\n- 2\n", "_BASE_: wrong.yaml\n", "_BASE_: none.yaml\n"])
def test_unusable_files_are_named(tmp_path: Path, content: str) -> None:
    config = tmp_path / "wrong.yaml"
    config.write_text(content)
    with pytest.raises(ValueError, match=r"wrong.yaml is not a usable config"):
        load_config(config)


@pytest.mark.parametrize("place", ["wrong.yaml", "base.yaml"])
def test_files_that_would_run_code_are_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "wrong.yaml").write_text("_BASE_: base.yaml\n")
    (tmp_path / place).write_text(f"OUTPUT_DIR: !!python/object/apply:os.mkdir ['{tmp_path}/was_run']\n")
    with pytest.raises(ValueError, match=r"wrong.yaml is not a usable config: (?s:.*)python/object/apply:os.mkdir"):
        load_config(tmp_path / "wrong.yaml")
    assert not (tmp_path / "was_run").exists()


def test_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no config file .*nothing.yaml"):
        load_config(tmp_path / "nothing.yaml")
