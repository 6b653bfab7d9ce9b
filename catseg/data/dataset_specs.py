"""The table of data sets: one row per split, with all that tells it from another one."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from catseg.data.downloads import (
    ADE20K_150_ARCHIVE,
    ADE20K_FULL_ARCHIVE,
    CONTEXT_59_LABELS,
    CONTEXT_459_LABELS,
    CONTEXT_459_NAMES,
    CONTEXT_459_VAL,
    VOC_2010,
    VOC_2012,
    VOC_2012_LABELS,
    Download,
    coco_stuff,
)
from catseg.shapes import classes as shapes
from catseg.vocabulary import Vocabulary, load_vocabulary


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """One split of a data set. Folders are relative to the root of all data sets.

    Attributes:
        name: what Detectron2 knows it by.
        split: what its authors call the split.
        vocabulary: its class names, or the shipped vocabulary that holds them.
        image_dir: folder of the images.
        image_extension: of the images' file names, without the dot.
        shared_images: whether the folder holds other images too; those that have a label map are meant then.
        label_dir: folder of the label maps; a pixel's value is the index of its class.
        label_extension: of the label maps' file names, without the dot.
        ignore_label: value of the pixels without class.
        source_label_dir: folder of the label maps as downloaded; empty if they are not one image file each.
        image_count: images of the complete split.
        downloads: where the originals are; none if it is generated.
        command: what makes the label maps, or all of it; takes `--root`.
        score_groups: class names that are scored by themselves as well, under the name of their group.
        scored_classes: names of the classes that are told apart in scoring, if fewer than `classes`: every predicted
            class from the last of them on counts as that one. None scores all classes.
    """

    name: str
    split: str
    vocabulary: str | tuple[str, ...]
    image_dir: str
    image_extension: str = "jpg"
    shared_images: bool = False
    label_dir: str
    label_extension: str = "png"
    ignore_label: int = 255
    source_label_dir: str = ""
    image_count: int
    downloads: tuple[Download, ...] = ()
    command: str
    score_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scored_classes: tuple[str, ...] | None = None

    @property
    def classes(self) -> Vocabulary:
        """The classes; class k is the k-th."""
        return load_vocabulary(self.vocabulary)

    def steps(self, root: Path, *, again: bool = False) -> list[str]:
        """List the shell commands that make the data set.

        Args:
            root: folder of all data sets.
            again: whether to download what seems to be there, too.

        Returns:
            The downloads, then `command`.
        """
        wanted = [download for download in self.downloads if again or not (root / download.gives).exists()]
        return [*(step for download in wanted for step in download.steps(root)), f"{self.command} --root {root}"]

    def how_to_make(self, root: Path) -> str:
        """Say in one line which commands make the data set under `root`."""
        return f"To make it, run (datasets/README.md says more): {'; '.join(self.steps(root))}"


def datasets_root(root: str | Path | None = None) -> Path:
    """Return the folder of all data sets: `root`, or $DETECTRON2_DATASETS, or `datasets` in the working directory."""
    return Path(root or os.environ.get("DETECTRON2_DATASETS") or "datasets").expanduser()


def _split(
    name: str,
    split: str,
    image_count: int,
    *,
    folder: str,
    vocabulary: str,
    downloads: tuple[Download, ...],
    command: str,
) -> DatasetSpec:
    """A split in the layout that ADE20K-150 and COCO-Stuff share."""
    return DatasetSpec(
        name=name,
        split=split,
        vocabulary=vocabulary,
        image_dir=f"{folder}/images/{split}",
        label_dir=f"{folder}/annotations_detectron2/{split}",
        source_label_dir=f"{folder}/annotations/{split}",
        image_count=image_count,
        downloads=downloads,
        command=command,
    )


def _shapes(
    split: str, classes: tuple[str, ...], score_groups: Mapping[str, tuple[str, ...]] | None = None
) -> DatasetSpec:
    """A split of the generated data set."""
    return DatasetSpec(
        name=f"shapes_{split}_sem_seg",
        split=split,
        vocabulary=classes,
        image_dir=f"shapes/images/{split}",
        image_extension="png",
        label_dir=f"shapes/annotations/{split}",
        image_count=shapes.IMAGE_COUNTS[split],
        command="python -m catseg.shapes.generate",
        score_groups=score_groups or {},
    )


_ade20k_150 = partial(
    _split,
    folder="ADEChallengeData2016",
    vocabulary="ade20k_150",
    downloads=(ADE20K_150_ARCHIVE,),
    command="python datasets/prepare_ade20k_150.py",
)
_context = partial(
    DatasetSpec, split="val", image_dir="VOCdevkit/VOC2010/JPEGImages", shared_images=True, image_count=5104
)
_voc = partial(
    DatasetSpec,
    image_dir="VOCdevkit/VOC2012/JPEGImages",
    shared_images=True,
    source_label_dir="VOCdevkit/VOC2012/SegmentationClassAug",
    image_count=1449,
    downloads=(VOC_2012, VOC_2012_LABELS),
    command="python datasets/prepare_pascal_voc.py",
)

ADE20K_150 = (
    _ade20k_150("ade20k_150_train_sem_seg", "training", 20210),
    _ade20k_150("ade20k_150_test_sem_seg", "validation", 2000),
)
ADE20K_847 = (
    DatasetSpec(
        name="ade20k_full_sem_seg_freq_val_all",
        split="validation",
        vocabulary="ade20k_847",
        image_dir="ADE20K_2021_17_01/images_detectron2/validation",
        label_dir="ADE20K_2021_17_01/annotations_detectron2/validation",
        label_extension="tif",
        ignore_label=65535,
        image_count=2000,
        downloads=(ADE20K_FULL_ARCHIVE,),
        command="python datasets/prepare_ade20k_847.py",
    ),
)
PASCAL_CONTEXT_59 = (
    _context(
        name="context_59_test_sem_seg",
        vocabulary="pascal_context_59",
        label_dir="VOCdevkit/VOC2010/annotations_detectron2/pc59_val",
        downloads=(VOC_2010, CONTEXT_59_LABELS),
        command="python datasets/prepare_pascal_context_59.py",
    ),
)
PASCAL_CONTEXT_459 = (
    _context(
        name="context_459_test_sem_seg",
        vocabulary="pascal_context_459",
        label_dir="VOCdevkit/VOC2010/annotations_detectron2/pc459_val",
        label_extension="tif",
        ignore_label=459,
        source_label_dir="VOCdevkit/VOC2010/trainval",
        downloads=(VOC_2010, CONTEXT_459_LABELS, CONTEXT_459_NAMES, CONTEXT_459_VAL),
        command="python datasets/prepare_pascal_context_459.py",
    ),
)
PASCAL_VOC_20 = (
    _voc(
        name="voc_2012_test_sem_seg",
        split="val",
        vocabulary="pascal_voc_20",
        label_dir="VOCdevkit/VOC2012/annotations_detectron2/val",
    ),
)
PASCAL_VOC_20B = (
    _voc(
        name="voc_2012_test_background_sem_seg",
        split="val_background",
        vocabulary="pascal_voc_20b",
        label_dir="VOCdevkit/VOC2012/annotations_detectron2_bg/val",
        scored_classes=(*PASCAL_VOC_20[0].classes, "background"),
    ),
)
COCO_STUFF_171 = tuple(
    _split(
        name,
        split,
        count,
        folder="coco-stuff",
        vocabulary="coco_stuff_171",
        downloads=coco_stuff(split),
        command=f"python datasets/prepare_coco_stuff.py --splits {split}",
    )
    for name, split, count in (
        ("coco_2017_train_stuff_all_sem_seg", "train2017", 118287),
        ("coco_2017_test_stuff_all_sem_seg", "val2017", 5000),
    )
)
SHAPES = (
    _shapes("train", shapes.SEEN),
    _shapes("seen_test", shapes.CLASSES, {"objects": shapes.SEEN_OBJECTS}),
    _shapes("unseen_test", shapes.CLASSES, {"held-out": shapes.HELD_OUT, "held-out-objects": shapes.HELD_OUT_OBJECTS}),
)

BENCHMARKS: tuple[DatasetSpec, ...] = (
    *COCO_STUFF_171,
    *ADE20K_150,
    *ADE20K_847,
    *PASCAL_CONTEXT_59,
    *PASCAL_CONTEXT_459,
    *PASCAL_VOC_20,
    *PASCAL_VOC_20B,
)
DATASETS: tuple[DatasetSpec, ...] = (*BENCHMARKS, *SHAPES)
