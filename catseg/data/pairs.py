"""Images and label maps that belong together by name."""

from collections.abc import Collection
from pathlib import Path

_MAX_LISTED = 10  # file names that an error message lists


def paired_names(
    image_dir: Path, image_extension: str, label_dir: Path, label_extension: str, *, more_images: bool = False
) -> list[str]:
    """List the names that images and label maps have in common, which must be all.

    Args:
        image_dir: folder of the images.
        image_extension: of the images, without the dot; other files are ignored, hidden ones too.
        label_dir: folder of the label maps.
        label_extension: of the label maps, likewise.
        more_images: whether images may be without label map; they are not listed.

    Returns:
        File names without extension, sorted; at least one.

    Raises:
        FileNotFoundError: if a folder is missing or has no such files, or an image has no label map (without
            `more_images`) or the reverse.
    """
    images, labels = file_names(image_dir, image_extension), file_names(label_dir, label_extension)
    problems = []
    for missing, kind, folder in (
        (set() if more_images else images - labels, "label map for {} images", image_dir),
        (labels - images, "image for {} label maps", label_dir),
    ):
        if missing:
            problems.append(f"there is no {kind.format(len(missing))} of {folder}: {listed(missing)}")
    if problems:
        raise FileNotFoundError("; ".join(problems))
    return sorted(labels)


def file_names(folder: Path, extension: str) -> set[str]:
    """Return the names, without extension, of the files that have it, hidden ones apart; at least one.

    Raises:
        FileNotFoundError: if the folder is missing or has none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder {folder} is missing")
    names = {path.stem for path in folder.glob(f"*.{extension}") if not path.name.startswith(".")}
    if not names:
        raise FileNotFoundError(f"the folder {folder} has no .{extension} files")
    return names


def listed(names: Collection[str]) -> str:
    """Return the first ten names in alphabetical order, separated by commas."""
    return ", ".join(sorted(names)[:_MAX_LISTED]) + (", ..." if len(names) > _MAX_LISTED else "")
