"""The small CLIP of the reference case `v1_tiny`, built through a config file as a user's own model is."""

import json
from pathlib import Path

import pytest

from catseg.modeling.clip.loading import build_clip, build_tokenizer
from catseg.parity.case import load_case

PARITY = Path(__file__).parents[2] / "parity"
CLIP_PREFIX = "sem_seg_head.predictor.clip_model."


def clip_config(*, vw, vl, p, res, tw, tl, e, **text):
    return {
        "embed_dim": e,
        "quick_gelu": True,
        "vision_cfg": {"image_size": res, "layers": vl, "width": vw, "patch_size": p, "head_width": min(64, vw)},
        "text_cfg": {"width": tw, "heads": max(1, tw // 64), "layers": tl, **text},
    }


@pytest.fixture
def write_config(tmp_path):
    """Write the config of a CLIP of a few parameters; the arguments go into `text_cfg`."""

    def write(**text):
        path = tmp_path / "small.json"
        path.write_text(json.dumps(clip_config(vw=16, vl=1, p=16, res=32, tw=16, tl=2, e=8, **text)))
        return str(path)

    return write


@pytest.fixture(scope="session")
def reference_case():
    return load_case(PARITY / "cases" / "catseg" / "v1_tiny.npz")


@pytest.fixture(scope="session")
def reference_config(reference_case, tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "tiny16.json"
    sizes = {key: size for key, size in reference_case.config["clip"].items() if key != "name"}
    path.write_text(json.dumps(clip_config(**sizes)))
    return str(path)


@pytest.fixture(scope="session")
def reference_weights(reference_case):
    weights = reference_case.state_dict()
    return {name.removeprefix(CLIP_PREFIX): weights[name] for name in weights if name.startswith(CLIP_PREFIX)}


@pytest.fixture
def clip(reference_config, reference_weights):
    """The filled model, frozen: a fresh one per test."""
    model = build_clip(reference_config)
    model.load_state_dict(reference_weights)
    return model.requires_grad_(False)


@pytest.fixture(scope="session")
def tokenizer(reference_config):
    return build_tokenizer(reference_config)
