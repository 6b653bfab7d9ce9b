"""Makes label maps of class indices from the label maps of an original download: what the datasets/ commands share."""

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from catseg.data.dataset_specs import DatasetSpec, datasets_root
from catseg.data.pairs import paired_names
from catseg.files import atomic_path
from catseg.label_io import read_label_map

_CHUNK = 8  # files that a worker process is given at a time
_MAX_LISTED = 20  # files that did not work which are listed

_FAILED, _BAD_INPUT, _INTERRUPTED = 1, 2, 130  # exit statuses


@dataclass(frozen=True)
class Conversion:
    """A label map to be made.

    Attributes:
        image: the image that it labels.
        source: the original label map.
        target: the label map to make.
    """

    image: Path
    source: Path
    target: Path


def main(
    description: str | None,
    specs: Sequence[DatasetSpec],
    class_of_value: Mapping[int, int],
    arguments: Sequence[str] | None = None,
) -> int:
    """Run a command that prepares a data set.

    Args:
        description: what its `--help` says.
        specs: the splits of the data set.
        class_of_value: for each 8-bit value that may occur in the original label maps, the class or the ignored label.
        arguments: of the command line; those of the process when None.

    Returns:
        The exit status: 0; 1 if single files failed, which are listed; 2 if the download is missing or incomplete;
        130 after Ctrl-C. Run again, the command goes on where it was.
    """
    options = _parse(description, specs, arguments)
    root = datasets_root(options.root)
    chosen = [spec for spec in specs if spec.split in options.splits]
    conversions, problems = find_conversions(chosen, root, subset=options.subset)
    if problems:
        steps = [f"  {step}" for step in chosen[0].steps(root, again=True)]
        _say(sys.stderr, "Nothing was prepared, the download is not complete:", *problems, "The steps are:", *steps)
        return _BAD_INPUT
    try:
        failures = convert_all(conversions, class_of_value, workers=options.workers)
    except KeyboardInterrupt:
        _say(sys.stderr, "Interrupted. Run the same command again to go on.")
        return _INTERRUPTED
    except BrokenProcessPool:
        _say(sys.stderr, "A worker process died, perhaps for lack of memory. Run again to go on, with fewer --workers.")
        return _FAILED
    folders = ", ".join(str(root / spec.label_dir) for spec in chosen)
    _say(sys.stdout, f"{len(conversions) - len(failures)} of {len(conversions)} label maps are ready in {folders}")
    if failures:
        more = [f"... and {len(failures) - _MAX_LISTED} more"] if len(failures) > _MAX_LISTED else []
        _say(sys.stderr, f"{len(failures)} could not be made:", *failures[:_MAX_LISTED], *more)
    return _FAILED if failures else 0


def find_conversions(specs: Sequence[DatasetSpec], root: Path, *, subset: bool) -> tuple[list[Conversion], list[str]]:
    """Look through a download.

    Args:
        specs: its splits, all with a `source_label_dir`.
        root: folder of all data sets.
        subset: whether splits may have fewer images than the complete ones.

    Returns:
        What is to be converted, and a line for each thing that is wrong or missing.
    """
    conversions, problems = [], []
    for spec in specs:
        images, sources = root / spec.image_dir, root / spec.source_label_dir
        try:
            names = paired_names(images, spec.image_extension, sources, "png")
        except FileNotFoundError as error:
            problems.append(f"{spec.split}: {error}")
            continue
        if len(names) != spec.image_count and not subset:
            problems.append(
                f"{spec.split}: {images} has {len(names)} of {spec.image_count} images (--subset takes what is there)"
            )
        conversions += [
            Conversion(
                image=images / f"{name}.{spec.image_extension}",
                source=sources / f"{name}.png",
                target=root / spec.label_dir / f"{name}.{spec.label_extension}",
            )
            for name in names
        ]
    return conversions, problems


def convert_all(conversions: Sequence[Conversion], class_of_value: Mapping[int, int], *, workers: int) -> list[str]:
    """Make label maps in several processes, with a progress bar.

    Args:
        conversions: what to make. Label maps that are there and whole are left alone.
        class_of_value: as in `main`.
        workers: number of processes.

    Returns:
        A line for each one that could not be made.

    Raises:
        BrokenProcessPool: if a process died.
        KeyboardInterrupt: after Ctrl-C, once the processes have ended. No file is left half written.
    """
    table = np.full(256, -1, dtype=np.int64)
    table[list(class_of_value)] = list(class_of_value.values())
    with ProcessPoolExecutor(workers, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as pool:
        try:
            results = pool.map(partial(_try_to_convert, table=table), conversions, chunksize=_CHUNK)
            return [failure for failure in tqdm(results, total=len(conversions), unit="file") if failure]
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise


def convert(conversion: Conversion, table: NDArray[np.int64]) -> None:
    """Make one label map, unless it is there already.

    Args:
        conversion: what to make.
        table: class or ignored label by original value, (256,); -1 for values that must not occur.

    Raises:
        OSError: if a file cannot be opened or written.
        ValueError: if a file is damaged, the original has another size than the image, or a value that must not occur.
    """
    values = read_label_map(conversion.source)
    with Image.open(conversion.image) as image:
        size = (image.height, image.width)
    if values.shape != size:
        raise ValueError(f"{conversion.source} has the size {values.shape}, its image {size}")
    labels = table[np.minimum(values, 255)]
    if values.max() > 255 or labels.min() < 0:
        raise ValueError(f"{conversion.source} has the unknown value {values[(labels < 0) | (values > 255)].max()}")
    if _holds(conversion.target, labels):
        return
    with atomic_path(conversion.target) as path:
        Image.fromarray(labels.astype(np.uint8)).save(path)


def _holds(path: Path, labels: NDArray[np.int64]) -> bool:
    try:
        return np.array_equal(read_label_map(path), labels)
    except (OSError, ValueError):
        return False


def _try_to_convert(conversion: Conversion, table: NDArray[np.int64]) -> str | None:
    """Return what went wrong, if something did."""
    try:
        convert(conversion, table)
    # Pillow raises all kinds of errors for damaged files, and one such file must not stop the others.
    except Exception as error:
        return f"{conversion.target.name}: {error}"
    return None


def _parse(
    description: str | None, specs: Sequence[DatasetSpec], arguments: Sequence[str] | None
) -> argparse.Namespace:
    splits = [spec.split for spec in specs]
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--root", metavar="DIR", help="folder of all data sets; default: $DETECTRON2_DATASETS, or else datasets"
    )
    parser.add_argument("--splits", nargs="+", choices=splits, default=splits, help="default: all")
    parser.add_argument(
        "--subset", action="store_true", help="prepare what is there, though it is not the complete data set"
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes; default: %(default)s"
    )
    options = parser.parse_args(arguments)
    if options.workers < 1:
        parser.error(f"--workers must be at least 1, got {options.workers}")
    return options


def _say(stream: TextIO, *lines: str) -> None:
    stream.writelines(f"{line}\n" for line in lines)
