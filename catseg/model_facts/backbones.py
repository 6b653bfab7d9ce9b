"""Published accuracies of the backbones, with sources, and the licences of the weights.

Accuracies are the authors' own, of the models that they publish. A number that could not be traced to its source is
left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Published:
    """Results of one size.

    Attributes:
        imagenet: top-1 accuracy on ImageNet-1K in percent, with what the weights were trained on and the image size.
        ade20k: mIoU on ADE20K in percent at a single scale, unless it says otherwise, with the segmentation method.
    """

    imagenet: str = "-"
    ade20k: str = "-"


@dataclass(frozen=True)
class Family:
    """Published facts about a family.

    Attributes:
        paper: arXiv number.
        source: where the accuracies are from.
        licence: of the published weights.
        sizes: name of a size to its results.
    """

    paper: str
    source: str
    licence: str
    sizes: Mapping[str, Published] = field(default_factory=dict)

    def of(self, size: str) -> Published:
        """The results of a size; empty ones if there are none."""
        return self.sizes.get(size, Published())


FACTS: dict[str, Family] = {
    "D2SwinTransformer": Family(
        paper="2103.14030",
        source="microsoft/Swin-Transformer, README",
        licence="MIT",
        sizes={
            "tiny": Published("81.2 (1K, 224)", "44.5 (UperNet)"),
            "small": Published("83.2 (1K, 224)", "47.6 (UperNet)"),
            "base": Published("86.4 (22K, 384)", "50.0 (UperNet)"),
            "large": Published("87.3 (22K, 384)", "52.1 (UperNet)"),
        },
    ),
    "VAN": Family(
        paper="2202.09741",
        source="ImageNet: Visual-Attention-Network/VAN-Classification, README; b4: open-mmlab/mmclassification, "
        "configs/van/README.md of its version 0.x, which evaluates the authors' weights; b6: abstract of the paper, "
        "which says neither image size nor pretraining. ADE20K: Visual-Attention-Network/VAN-Segmentation, README; b4 "
        "to b6: open-mmlab/mmsegmentation, projects/van/README.md, which evaluates the authors' weights",
        licence="Apache-2.0 (commercial use: ask the authors)",
        sizes={
            "b0": Published("75.4 (1K, 224)", "38.5 (Semantic FPN)"),
            "b1": Published("81.1 (1K, 224)", "42.9 (Semantic FPN)"),
            "b2": Published("82.8 (1K, 224)", "46.7 (Semantic FPN)"),
            "b3": Published("83.9 (1K, 224)", "48.1 (Semantic FPN)"),
            "b4": Published("84.1 (1K, 224)", "52.6 (UperNet, 22K)"),
            "b5": Published(ade20k="53.1 (UperNet, 22K)"),
            "b6": Published("87.8", "54.3 (UperNet, 22K)"),
        },
    ),
    "CvT": Family(
        paper="2103.15808",
        source="microsoft/CvT, README",
        licence="MIT",
        sizes={
            "cvt-13": Published("81.6 (1K, 224); 83.3 (22K, 384)"),
            "cvt-21": Published("82.5 (1K, 224); 84.9 (22K, 384)"),
            "cvt-w24": Published("87.6 (22K, 384)"),
        },
    ),
    "TwinsPCPVT": Family(
        paper="2104.13840",
        source="Meituan-AutoML/Twins, README",
        licence="Apache-2.0",
        sizes={
            "small": Published("81.2 (1K, 224)", "46.2 (UperNet)"),
            "base": Published("82.7 (1K, 224)", "47.1 (UperNet)"),
            "large": Published("83.1 (1K, 224)", "48.6 (UperNet)"),
        },
    ),
    "TwinsSVT": Family(
        paper="2104.13840",
        source="Meituan-AutoML/Twins, README",
        licence="Apache-2.0",
        sizes={
            "small": Published("81.7 (1K, 224)", "46.2 (UperNet)"),
            "base": Published("83.2 (1K, 224)", "47.4 (UperNet)"),
            "large": Published("83.7 (1K, 224)", "48.8 (UperNet)"),
        },
    ),
    "ViTAdapter": Family(
        paper="2205.08534",
        source="ImageNet: of the ViT alone, facebookresearch/deit, README; ADE20K: czczup/ViT-Adapter, README",
        licence="Apache-2.0",
        sizes={
            "tiny": Published("72.2 (1K, 224)", "42.6 (UperNet)"),
            "small": Published("79.9 (1K, 224)", "46.2 (UperNet)"),
            "base": Published("81.8 (1K, 224)", "48.8 (UperNet)"),
            "base_384": Published(ade20k="51.9 (UperNet)"),
            "large": Published(ade20k="53.4 (UperNet)"),
        },
    ),
    "MPViT": Family(
        paper="2112.11010",
        source="youngwanLEE/MPViT, README",
        licence="GPL-3.0 or commercial",
        sizes={
            "tiny": Published("78.2 (1K, 224)"),
            "xsmall": Published("80.9 (1K, 224)"),
            "small": Published("83.0 (1K, 224)", "48.3 (UperNet)"),
            "base": Published("84.3 (1K, 224)", "50.3 (UperNet)"),
        },
    ),
}
