"""Images and label maps that belong together by name."""

from collections.abc import Collection
from pathlib import Path

_MAX_LISTED = 5  # file names that an error message lists


def paired_names(image_dir: Path, image_extension: str, label_dir: Path, label_extension: str) -> list[str]:
    """List the names that images and label maps have in common, which must be all.

    Args:
        image_dir: folder of the images.
        image_extension: of the images, without the dot; other files are ignored, hidden ones too.
        label_dir: folder of the label maps.
        label_extension: of the label maps, likewise.

    Returns:
        File names without extension, sorted; at least one.

    Raises:
        FileNotFoundError: if a folder is missing or has no such files, or an image has no label map or the reverse.
    """
    images, labels = _names(image_dir, image_extension), _names(label_dir, label_extension)
    problems = []
    for missing, kind, folder in (
        (images - labels, "label map for {} images", image_dir),
        (labels - images, "image for {} label maps", label_dir),
    ):
        if missing:
            problems.append(f"there is no {kind.format(len(missing))} of {folder}: {_listed(missing)}")
    if problems:
        raise FileNotFoundError("; ".join(problems))
    return sorted(images)


def _names(folder: Path, extension: str) -> set[str]:
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder {folder} is missing")
    names = {path.stem for path in folder.glob(f"*.{extension}") if not path.name.startswith(".")}
    if not names:
        raise FileNotFoundError(f"the folder {folder} has no .{extension} files")
    return names


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)[:_MAX_LISTED]) + (", ..." if len(names) > _MAX_LISTED else "")
