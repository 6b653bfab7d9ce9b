"""Generate the data set `shapes`: images of textured patches on textured grounds, with exact label maps.

    python -m catseg.shapes.generate --root datasets

writes `shapes/` under the folder of all data sets, with the splits train (27 classes), seen_test (the same classes) and
unseen_test (every image shows one of the 9 classes that training never shows, among others). `shapes/manifest.json`
records settings and checksums: running the command again checks them and writes nothing; an interrupted run goes on.
"""

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from catseg.arguments import file_path
from catseg.atomic import write_json
from catseg.console import add_debug_option, errors_in_one_line
from catseg.data.dataset_specs import datasets_root
from catseg.errors import InputError
from catseg.shapes.classes import CLASSES, HELD_OUT, IMAGE_COUNTS
from catseg.shapes.splits import SPLITS, VERSION, Split

FOLDER = "shapes"
MANIFEST = "manifest.json"

logger = logging.getLogger(__name__)


def generate_shapes(root: Path, *, seed: int = 0, size: int = 64, counts: Mapping[str, int] = IMAGE_COUNTS) -> Path:
    """Write the data set, or what is missing of it, and check it.

    Args:
        root: folder of all data sets.
        seed: of all that is random.
        size: side of the images, in pixels.
        counts: number of images of each split.

    Returns:
        The folder of the data set.

    Raises:
        ValueError: if a setting is impossible.
        FileExistsError: if the folder holds something else, or was made with other settings.
    """
    if set(counts) != set(SPLITS) or min(counts.values()) < 1 or size < 16:
        raise InputError(
            f"expected at least one image for each of {', '.join(SPLITS)} and a side of at least 16 pixels, "
            f"got {dict(counts)} and {size}"
        )
    folder = root / FOLDER
    settings = {"version": VERSION, "seed": seed, "size": size, "counts": dict(counts)}
    digests = _read_digests(folder, settings)
    splits = [Split(folder, name, images, size, seed) for name, images in counts.items()]
    wanted = [split for split in splits if not _is_complete(split, digests)]
    if not wanted:
        logger.info("%s is complete and matches its checksums: nothing to do", folder)
        return folder
    _write_manifest(folder, settings, digests)
    with tqdm(total=sum(split.images for split in wanted), desc="Drawing shapes", unit="image", mininterval=1) as bar:
        for split in wanted:
            for index in range(split.chunks):
                bar.update(split.write_chunk(index))
            digests[split.name] = split.digest()
            _write_manifest(folder, settings, digests)
    logger.info("wrote %s: %s", folder, ", ".join(f"{name} {images}" for name, images in counts.items()))
    return folder


def _is_complete(split: Split, digests: Mapping[str, str]) -> bool:
    """Tell whether a split matches its checksum; a changed one is deleted, an unfinished one is kept."""
    expected = digests.get(split.name)
    if expected is None or split.digest() == expected:
        return expected is not None
    logger.warning("the files of %s differ from their checksum: drawing them again", split.folder / "*" / split.name)
    split.remove()
    return False


def _read_digests(folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """The checksums of the splits that are complete.

    Raises:
        FileExistsError: if the folder holds something else, or was made with other settings.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise FileExistsError(
                f"{folder} holds files that are not of this command: move them, or choose another --root"
            )
        return {}
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        found, digests = content["settings"], dict(content["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise FileExistsError(f"{manifest} is damaged ({error!r}): delete {folder} and run again") from error
    if found != settings:
        raise FileExistsError(
            f"{folder} was made with {_describe(found)}, now asked for is {_describe(settings)}: "
            "delete it, or choose another --root"
        )
    return digests


def _describe(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def _write_manifest(folder: Path, settings: Mapping[str, Any], digests: Mapping[str, str]) -> None:
    content = {"settings": settings, "sha256": digests, "classes": CLASSES, "held_out": HELD_OUT}
    write_json(folder / MANIFEST, content)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m catseg.shapes.generate", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--root",
        type=file_path,
        help="folder of all data sets, these go into its shapes/ (default: $DETECTRON2_DATASETS, or else datasets)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: %(default)s)")
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels (default: %(default)s)")
    for name, count in IMAGE_COUNTS.items():
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, type=int, default=count, help=f"images of {name} (default: %(default)s)")
    add_debug_option(parser)
    return parser.parse_args(arguments)


@errors_in_one_line("catseg.shapes.generate", interrupted="interrupted; run the same command again to go on")
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = parse_arguments(arguments)
    counts = {name: getattr(args, name) for name in IMAGE_COUNTS}
    generate_shapes(datasets_root(args.root), seed=args.seed, size=args.size, counts=counts)


if __name__ == "__main__":
    main()
