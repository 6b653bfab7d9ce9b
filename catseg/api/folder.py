"""A model as a folder that can be handed on: config, weights and a model card, as the Hugging Face hub wants them."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from detectron2.config import CfgNode
from huggingface_hub import HfApi
from safetensors.torch import save_file

import catseg
from catseg.atomic import atomic_path
from catseg.checkpoint.hub import each_its_own
from catseg.errors import InputError, RunError
from catseg.vocabulary import Vocabulary, typed_line

if TYPE_CHECKING:
    from catseg.api.model import CATSegModel

CONFIG_FILE, WEIGHTS_FILE, CLIP_FILE, CARD_FILE = "config.yaml", "model.safetensors", "clip.json", "README.md"


def save_folder(model: "CATSegModel", folder: str | Path, *, licence: str) -> Path:
    """Write config, weights and model card. Arguments and errors as `CATSegModel.save_pretrained`."""
    folder = Path(folder).expanduser()
    if not model.trained:
        raise RunError(f"{model.name or 'the model'} holds no trained CAT-Seg: there is nothing to hand on")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, expected a folder")
    clip = Path(model.config.MODEL.CLIP.NAME)
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        save_file(each_its_own(model.module.state_dict()), temporary, metadata={"format": "pt"})
    if clip.is_file():
        with atomic_path(folder / CLIP_FILE) as temporary:
            shutil.copyfile(clip, temporary)
    for name, text in (
        (CARD_FILE, model_card(model, licence)),
        (CONFIG_FILE, portable_config(model.config, model.context).dump()),  # last: with it, the folder is a model
    ):
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return folder


def push_folder(model: "CATSegModel", repo: str, *, licence: str, private: bool, message: str) -> str:
    """Upload what `save_folder` writes. Arguments, result and errors as `CATSegModel.push_to_hub`."""
    with tempfile.TemporaryDirectory() as folder:
        save_folder(model, folder, licence=licence)
        api = HfApi()
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            commit = api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message)
        except Exception as error:  # the client raises its own kinds, those of its HTTP library, and OSError
            raise RunError(
                f"cannot upload to {repo} on the Hugging Face hub (log in by hf auth login): {error}"
            ) from error
    return str(commit.commit_url)


def portable_config(config: CfgNode, context: Vocabulary | None) -> CfgNode:
    """Return a config without what exists on this machine alone: weights, CLIP's file, and data sets."""
    portable = config.clone()
    portable.defrost()
    portable.MODEL.WEIGHTS = portable.MODEL.CLIP.WEIGHTS = portable.MODEL.TRAINING_FREE.PROXY_WEIGHTS = ""
    if Path(portable.MODEL.CLIP.NAME).is_file():
        portable.MODEL.CLIP.NAME = CLIP_FILE  # which `catseg.load` looks for beside the config
    portable.DATASETS.CONTEXT_CLASSES = "" if context is None else typed_line(context)
    portable.DATASETS.TRAIN = portable.DATASETS.TEST = portable.DATASETS.OWN = ()
    portable.DATASETS.TRAIN_CLASSES = ""
    portable.SOLVER.WISE_FT_ALPHA = 1.0  # of the training that is over; a later one may start from nothing
    portable.OUTPUT_DIR = "output"
    return portable


def model_card(model: "CATSegModel", licence: str) -> str:
    """Return the text of a model card, with the hub's header."""
    parameters = sum(parameter.numel() for parameter in model.module.parameters()) / 1e6
    clip = model.config.MODEL.CLIP.NAME
    names = () if model.context is None else model.context.short_names
    header = {"license": licence, "library_name": "catseg", "pipeline_tag": "image-segmentation"}
    lines = [
        "---",
        *(f"{key}: {json.dumps(value)}" for key, value in header.items() if value),
        "tags: [open-vocabulary, semantic-segmentation, detectron2]",
        "---",
        "",
        f"# {model.name or 'CAT-Seg'}",
        "",
        "A CAT-Seg model (arXiv 2303.11797) for open-vocabulary semantic segmentation: it finds any named classes.",
        "",
        "```python",
        "import catseg",
        "",
        'model = catseg.load("hf://OWNER/REPO")  # or the folder of this file',
        'result = model.segment("photo.jpg", ["sofa", ("cat", "kitten"), "night sky"])',
        "result.plot()",
        "```",
        "",
        f"- Parameters: {parameters:.1f} million",
        f"- CLIP: {CLIP_FILE if Path(clip).is_file() else clip}",
        f"- Guidance: {model.config.MODEL.BACKBONE.NAME or 'from CLIP itself'}",
        f"- Classes of its training: {', '.join(names) or 'not recorded'}",
        f"- Written by catseg {catseg.__version__}, torch {torch.__version__}",
        "",
    ]
    return "\n".join(lines)
