"""Published mIoU of the CAT-Seg models on the benchmarks, with the source of each number."""

from collections.abc import Mapping
from dataclasses import dataclass

from tabulate import tabulate

# What papers call a benchmark -> what its data set is registered as.
BENCHMARKS = {
    "A-847": "ade20k_full_sem_seg_freq_val_all",
    "PC-459": "context_459_test_sem_seg",
    "A-150": "ade20k_150_test_sem_seg",
    "PC-59": "context_59_test_sem_seg",
    "PAS-20": "voc_2012_test_sem_seg",
    "PAS-20b": "voc_2012_test_background_sem_seg",
}

_REPOSITORY = "https://github.com/cvlab-kaist/CAT-Seg"
# Numbers are those that the README gives with the checkpoints, which may be newer than the paper's.
V1_SOURCE = f"{_REPOSITORY}, README before the CVPR version: pretrained models (paper: arXiv 2303.11797v1)"
V2_SOURCE = f"{_REPOSITORY}, present README: pretrained models (paper: CVPR 2024, arXiv 2303.11797v2)"


@dataclass(frozen=True)
class Published:
    """Published facts about a model that was trained on COCO-Stuff.

    Attributes:
        guidance: the backbone beside CLIP, "-" for none.
        clip: the CLIP model.
        miou: of each of `BENCHMARKS`, in percent.
        source: where these numbers are.
    """

    guidance: str
    clip: str
    miou: Mapping[str, float]
    source: str


def _numbers(*values: float) -> dict[str, float]:
    return dict(zip(BENCHMARKS, values, strict=True))


MODELS = {
    "v1-base": Published("R-101", "ViT-B/16", _numbers(8.9, 16.6, 27.2, 57.5, 93.7, 78.3), V1_SOURCE),
    "v1-large": Published("Swin-B", "ViT-L/14@336", _numbers(11.4, 20.4, 31.5, 62.0, 96.6, 81.8), V1_SOURCE),
    "v1-huge": Published("Swin-B", "ViT-H/14", _numbers(13.1, 20.1, 34.4, 61.2, 96.7, 80.2), V1_SOURCE),
    "v1-giant": Published("Swin-B", "ViT-bigG/14", _numbers(14.1, 21.4, 36.2, 61.5, 97.1, 81.4), V1_SOURCE),
    "v2-base": Published("-", "ViT-B/16", _numbers(12.0, 19.0, 31.8, 57.5, 94.6, 77.3), V2_SOURCE),
    "v2-large": Published("-", "ViT-L/14@336", _numbers(16.0, 23.8, 37.9, 63.3, 97.0, 82.5), V2_SOURCE),
}


def paper_name(dataset: str) -> str:
    """Return what papers call a registered data set; its own name if they have no short one."""
    return next((short for short, registered in BENCHMARKS.items() if registered == dataset), dataset)


def published_miou(model: str, dataset: str) -> float | None:
    """Look up a published number.

    Args:
        model: any name; those of `MODELS` have numbers.
        dataset: registered name of a data set.

    Returns:
        mIoU in percent, None if there is none.
    """
    return MODELS[model].miou.get(paper_name(dataset)) if model in MODELS else None


def published_table() -> str:
    """Lay out all published numbers as a Markdown table."""
    rows = [
        {
            "model": name,
            "guidance": model.guidance,
            "CLIP": model.clip,
            **{k: f"{v:.1f}" for k, v in model.miou.items()},
        }
        for name, model in MODELS.items()
    ]
    return tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True)
