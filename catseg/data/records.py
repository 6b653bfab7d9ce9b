"""Records of registered data sets."""

from collections.abc import Sequence
from typing import Any

from detectron2.data import MetadataCatalog, get_detection_dataset_dicts


def dataset_records(names: Sequence[str]) -> list[dict[str, Any]]:
    """Load the records of data sets, and tell for each whether its image is turned upright.

    Images are turned as their EXIF orientation says, and label maps are drawn on the upright image. A data set whose
    labels are drawn on the stored rows and columns has `ignore_exif_orientation=True` in its metadata.

    Args:
        names: registered data sets.

    Returns:
        Detectron2's records, each with `upright`.
    """
    return [
        {**record, "upright": not MetadataCatalog.get(name).get("ignore_exif_orientation", False)}
        for name in names
        for record in get_detection_dataset_dicts(name, filter_empty=False)
    ]
