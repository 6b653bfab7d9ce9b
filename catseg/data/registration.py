"""Tells Detectron2's catalogues about the data sets of the table."""

import logging
from collections.abc import Sequence
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from catseg.data.dataset_specs import DATASETS, DatasetSpec, datasets_root
from catseg.data.pairs import paired_files
from catseg.errors import InputError
from catseg.vocabulary import Vocabulary, load_vocabulary

logger = logging.getLogger(__name__)


def register_datasets(root: str | Path | None = None) -> None:
    """Register every data set of the table with Detectron2. No file is touched until one is loaded.

    A data set's metadata are `stuff_classes` (a `Vocabulary`), `ignore_label`, `evaluator_type`
    ("sem_seg"), `image_root`, `sem_seg_root`, `score_groups` (group name to class indices) and `scored_classes` (names
    of the classes that scoring tells apart: `stuff_classes`, or fewer, see `DatasetSpec`). Loading one whose files are
    missing or do not pair up raises FileNotFoundError with the folder and the commands that make it.

    Calling this again changes nothing, unless with another root: the data sets are then looked for there.

    Args:
        root: folder of all data sets; $DETECTRON2_DATASETS, or else `datasets`, when omitted.
    """
    folder = datasets_root(root)
    for spec in DATASETS:
        if spec.name in DatasetCatalog:
            if MetadataCatalog.get(spec.name).get("image_root") == str(folder / spec.image_dir):
                continue
            DatasetCatalog.remove(spec.name)
            MetadataCatalog.remove(spec.name)
        _register(spec, folder)


def dataset_vocabulary(name: str, replacement: str = "") -> Vocabulary:
    """Return the classes of a registered data set: its `stuff_classes`, whose entries are as in any list of classes.

    Args:
        name: of the data set.
        replacement: what `load_vocabulary` takes, to call the same classes, in the same order, by other names; "" for
            the data set's own.

    Raises:
        FileNotFoundError: if `replacement` is a file that does not exist.
        ValueError: if there is no such data set, its `stuff_classes` are no list of classes, or `replacement` is not
            usable or contradicts them: it has more or fewer names, or the same ones in another order.
    """
    if name not in MetadataCatalog.list():
        raise InputError(f"no data set is registered as {name!r}")
    metadata = MetadataCatalog.get(name)
    classes = metadata.get("stuff_classes")
    if classes is None:
        things = (
            ", but thing_classes, which semantic segmentation does not use"
            if "thing_classes" in metadata.as_dict()
            else ""
        )
        raise InputError(
            f"the data set {name} has no stuff_classes, the names of the classes in its label maps{things}: "
            f'MetadataCatalog.get("{name}").set(stuff_classes=[...])'
        )
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise InputError(
            f"stuff_classes of the data set {name} must be a list of class names, got {type(classes).__name__}: "
            f"MetadataCatalog.get({name!r}).set(stuff_classes=[...])"
        )
    own = load_vocabulary(classes, origin=f"stuff_classes of the data set {name}")
    return _renamed(name, own, load_vocabulary(replacement)) if replacement else own


def _renamed(dataset: str, own: Vocabulary, names: Vocabulary) -> Vocabulary:
    if len(names) != len(own):
        raise InputError(
            f"{names.origin} has {len(names)} names, but the data set {dataset} has {len(own)} classes: name the list "
            "that belongs to it"
        )
    moved = [place for place, (name, before) in enumerate(zip(names, own, strict=True)) if name != before]
    if moved and sorted(names) == sorted(own):
        raise InputError(
            f"{names.origin} has the classes of the data set {dataset} in another order: {names[moved[0]]!r} is in the "
            f"place of {own[moved[0]]!r}"
        )
    return names


def _register(spec: DatasetSpec, root: Path) -> None:
    classes = spec.classes
    scored_classes = classes if spec.scored_classes is None else list(spec.scored_classes)
    DatasetCatalog.register(spec.name, lambda: load_records(spec, root))
    MetadataCatalog.get(spec.name).set(
        stuff_classes=classes,
        ignore_label=spec.ignore_label,
        evaluator_type="sem_seg",
        image_root=str(root / spec.image_dir),
        sem_seg_root=str(root / spec.label_dir),
        score_groups={group: [classes.index(name) for name in names] for group, names in spec.score_groups.items()},
        scored_classes=scored_classes,
    )


def load_records(spec: DatasetSpec, root: Path) -> list[dict[str, str]]:
    """List the images of a data set with their label maps.

    Args:
        spec: the data set.
        root: folder of all data sets.

    Returns:
        Records with "file_name" and "sem_seg_file_name", sorted by name.

    Raises:
        FileNotFoundError: if a folder is missing or empty, a label map has no image or, unless the folder of the images
            is shared, an image no label map.
    """
    image_dir, label_dir = root / spec.image_dir, root / spec.label_dir
    try:
        files = paired_files(
            image_dir, spec.image_extension, label_dir, spec.label_extension, more_images=spec.shared_images
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{spec.name}: {error} (data sets are looked for in $DETECTRON2_DATASETS, or else ./datasets). "
            f"{spec.how_to_make(root)}"
        ) from error
    if len(files) != spec.image_count:
        logger.warning("%s has %d images here, %d when complete", spec.name, len(files), spec.image_count)
    return [{"file_name": str(image), "sem_seg_file_name": str(label_map)} for image, label_map in files]
