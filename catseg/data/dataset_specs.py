"""The table of data sets: one row per split, with all that tells it from another one."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from catseg.data import shapes
from catseg.vocabulary import load_vocabulary


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """One split of a data set. Folders are relative to the root of all data sets.

    Attributes:
        name: what Detectron2 knows it by.
        split: what its authors call the split.
        vocabulary: its class names, or the shipped vocabulary that holds them.
        image_dir: folder of the images.
        image_extension: of the images' file names, without the dot.
        label_dir: folder of the label maps; a pixel's value is the index of its class.
        label_extension: of the label maps' file names, without the dot.
        ignore_label: value of the pixels without class.
        source_label_dir: folder of the label maps as downloaded; empty if there is nothing to convert.
        image_count: images of the complete split.
        download: where the original is; None if it is generated.
        command: what makes the label maps, or all of it; takes `--root`.
        score_groups: class names that are scored by themselves as well, under the name of their group.
    """

    name: str
    split: str
    vocabulary: str | tuple[str, ...]
    image_dir: str
    image_extension: str = "jpg"
    label_dir: str
    label_extension: str = "png"
    ignore_label: int = 255
    source_label_dir: str = ""
    image_count: int
    download: str | None = None
    command: str
    score_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """The class names; class k is the k-th, synonyms after ", "."""
        return load_vocabulary(self.vocabulary)

    def how_to_make(self, root: Path) -> str:
        """Say where the original comes from and which command makes the data set under `root`."""
        run = f"run: {self.command} --root {root}"
        if self.download is None:
            return f"To make it, {run}"
        return f"Download {self.download}, extract under {root} (datasets/README.md shows the folders), then {run}"


def datasets_root(root: str | Path | None = None) -> Path:
    """Return the folder of all data sets: `root`, or $DETECTRON2_DATASETS, or `datasets` in the working directory."""
    return Path(root or os.environ.get("DETECTRON2_DATASETS") or "datasets").expanduser()


def _split(
    name: str, split: str, image_count: int, *, folder: str, vocabulary: str, download: str, command: str
) -> DatasetSpec:
    """A split in the layout that ADE20K and COCO-Stuff share."""
    return DatasetSpec(
        name=name,
        split=split,
        vocabulary=vocabulary,
        image_dir=f"{folder}/images/{split}",
        label_dir=f"{folder}/annotations_detectron2/{split}",
        source_label_dir=f"{folder}/annotations/{split}",
        image_count=image_count,
        download=download.format(split=split),
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
        command="python -m catseg.tools.generate_shapes",
        score_groups=score_groups or {},
    )


_ade20k_150 = partial(
    _split,
    folder="ADEChallengeData2016",
    vocabulary="ade20k_150",
    download="https://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
    command="python datasets/prepare_ade20k_150.py",
)
_coco_stuff_171 = partial(
    _split,
    folder="coco-stuff",
    vocabulary="coco_stuff_171",
    download="http://images.cocodataset.org/zips/{split}.zip and "
    "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/stuffthingmaps_trainval2017.zip",
    command="python datasets/prepare_coco_stuff.py",
)

ADE20K_150 = (
    _ade20k_150("ade20k_150_train_sem_seg", "training", 20210),
    _ade20k_150("ade20k_150_test_sem_seg", "validation", 2000),
)
COCO_STUFF_171 = (
    _coco_stuff_171("coco_2017_train_stuff_all_sem_seg", "train2017", 118287),
    _coco_stuff_171("coco_2017_test_stuff_all_sem_seg", "val2017", 5000),
)
SHAPES = (
    _shapes("train", shapes.SEEN),
    _shapes("seen_test", shapes.CLASSES, {"objects": shapes.SEEN_OBJECTS}),
    _shapes("unseen_test", shapes.CLASSES, {"held-out": shapes.HELD_OUT, "held-out-objects": shapes.HELD_OUT_OBJECTS}),
)
DATASETS: tuple[DatasetSpec, ...] = (*ADE20K_150, *COCO_STUFF_171, *SHAPES)
