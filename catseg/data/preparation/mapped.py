"""Label maps whose originals are label maps too, with other numbers: ADE20K-150, COCO-Stuff and PASCAL VOC."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catseg.data.dataset_specs import ADE20K_150, COCO_STUFF_171, DatasetSpec
from catseg.data.pairs import files_by_name
from catseg.data.preparation.jobs import Job, Made, check_size, read_names
from catseg.errors import InputError
from catseg.label_io import read_label_map

Names = Callable[[DatasetSpec, Path], list[str]]

_ADE20K_FILES = {"training": "ADE_train_{:08d}", "validation": "ADE_val_{:08d}"}
_VOC_LIST = "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt"
_VOC_BACKGROUND = 20


@dataclass(frozen=True, kw_only=True)
class MappedLabels:
    """The recipe that gives each value of an 8-bit label map a class.

    Attributes:
        class_of_value: class or ignored label of each value that may occur.
        ignore_label: of the data set.
        names: the images of a split, given it and the folder of all data sets.
        skip_unlabelled: whether to leave out images none of whose pixels has a class.
    """

    class_of_value: Mapping[int, int]
    ignore_label: int
    names: Names
    skip_unlabelled: bool = False

    def find(self, spec: DatasetSpec, root: Path) -> list[Job]:
        """List all jobs of a split, as `Recipe` describes."""
        images, sources, targets = (root / part for part in (spec.image_dir, spec.source_label_dir, spec.label_dir))
        return [
            Job(
                name=name,
                image=images / f"{name}.{spec.image_extension}",
                labels=sources / f"{name}.png",
                target=targets / f"{name}.{spec.label_extension}",
            )
            for name in self.names(spec, root)
        ]

    def make(self, job: Job) -> Made | None:
        """Do a job, as `Recipe` describes."""
        if job.labels is None:
            raise InputError(f"{job.name} has no original label map")
        values = read_label_map(job.labels)
        check_size(job, values)
        table = np.full(257, -1, dtype=np.int64)
        table[list(self.class_of_value)] = list(self.class_of_value.values())
        labels = table[np.clip(values, 0, 256)]
        if labels.min() < 0:
            raise InputError(f"{job.labels} has the unknown value {values[labels < 0].max()}")
        if self.skip_unlabelled and (labels == self.ignore_label).all():
            return None
        return Made(labels)


def ade20k_150() -> MappedLabels:
    """The recipe of ADE20K-150: 0 is unlabelled, 1..150 are the classes."""
    ignored = ADE20K_150[0].ignore_label
    return MappedLabels(
        class_of_value={0: ignored} | {value: value - 1 for value in range(1, 151)},
        ignore_label=ignored,
        names=_numbered,
    )


def coco_stuff() -> MappedLabels:
    """The recipe of COCO-Stuff: values are COCO's category numbers less one, with gaps that are ignored, as is 255."""
    unused = {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}
    used = [value for value in range(182) if value not in unused]
    ignored = COCO_STUFF_171[0].ignore_label
    classes = {value: index for index, value in enumerate(used)}
    return MappedLabels(
        class_of_value=dict.fromkeys(range(256), ignored) | classes, ignore_label=ignored, names=_in_folders
    )


def pascal_voc(*, background: bool) -> MappedLabels:
    """The recipe of PASCAL VOC: 0 is background, 1..20 are the classes, 255 the borders of objects.

    Args:
        background: whether the background is a class, after the others; else it is ignored.
    """
    ignored = 255
    return MappedLabels(
        class_of_value={0: _VOC_BACKGROUND if background else ignored, ignored: ignored}
        | {value: value - 1 for value in range(1, 21)},
        ignore_label=ignored,
        names=_voc_val,
        skip_unlabelled=not background,
    )


def _numbered(spec: DatasetSpec, _root: Path) -> list[str]:
    return [_ADE20K_FILES[spec.split].format(number) for number in range(1, spec.image_count + 1)]


def _in_folders(spec: DatasetSpec, root: Path) -> list[str]:
    images = files_by_name(root / spec.image_dir, spec.image_extension)
    return sorted(images | files_by_name(root / spec.source_label_dir, "png"))


def _voc_val(_spec: DatasetSpec, root: Path) -> list[str]:
    return read_names(root / _VOC_LIST)
