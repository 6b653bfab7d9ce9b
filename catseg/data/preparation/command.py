"""The command line that prepares a data set; each script in datasets/ runs it with recipes of its own."""

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TextIO

from catseg.console import add_debug_option, debugging
from catseg.data.dataset_specs import DatasetSpec, datasets_root
from catseg.data.pairs import files_by_name, listed
from catseg.data.preparation.jobs import Job, Recipe, select
from catseg.data.preparation.making import CannotWriteError, Outcome, make_all
from catseg.data.preparation.manifest import Manifest

_MAX_LISTED = 10  # files that did not work which are listed

_FAILED, _BAD_INPUT, _INTERRUPTED = 1, 2, 130  # exit statuses

Prepared = Sequence[tuple[DatasetSpec, Recipe]]


def main(description: str | None, prepared: Prepared, arguments: Sequence[str] | None = None) -> int:
    """Run a command that prepares a data set.

    Args:
        description: what its `--help` says.
        prepared: the splits of the data set, each with its recipe.
        arguments: of the command line; those of the process when None.

    Returns:
        The exit status: 0; 1 if files failed or do not match their checksums, which are listed, or the disk is full;
        2 if the download is missing or incomplete; 130 after Ctrl-C. Run again, the command goes on where it was.
    """
    options = _parse(description, prepared, arguments)
    root = datasets_root(options.root)
    chosen = [(spec, recipe) for spec, recipe in prepared if spec.split in options.splits]
    try:
        if options.verify:
            return max(_verify(spec, root, options.workers) for spec, _ in chosen)
        return _prepare(chosen, root, subset=options.subset, workers=options.workers)
    except KeyboardInterrupt:
        _say(sys.stderr, "Interrupted. Run the same command again to go on.")
        return _INTERRUPTED
    except BrokenProcessPool:
        _say(sys.stderr, "A worker process died, perhaps for lack of memory. Run again to go on, with fewer --workers.")
    except (CannotWriteError, OSError) as error:
        if debugging():
            raise
        _say(sys.stderr, f"Stopped, below {root}: {error}")
        _say(sys.stderr, "Once files can be written there, run the same command again to go on.")
    return _FAILED


def _prepare(chosen: Prepared, root: Path, *, subset: bool, workers: int) -> int:
    unfinished = [(spec, recipe) for spec, recipe in chosen if not _is_ready(spec, root, workers)]
    work = []
    problems = []
    for spec, recipe in unfinished:
        jobs, found = _find(spec, recipe, root, subset=subset)
        work.append((spec, recipe, jobs))
        problems += found
    if problems:
        steps = [f"  {step}" for step in unfinished[0][0].steps(root, again=True)]
        hint = [] if subset else ["(--subset prepares what is there.)"]
        _say(sys.stderr, "Nothing was prepared, the download is not complete:", *problems, *hint)
        _say(sys.stderr, "The steps are:", *steps)
        return _BAD_INPUT
    status = 0
    for spec, recipe, jobs in work:
        manifest = Manifest(spec, root)
        outcome = make_all(jobs, recipe, manifest, workers=workers, title=spec.name)
        status = max(status, _report(spec, root, manifest, outcome, len(jobs), subset=subset))
    return status


def _is_ready(spec: DatasetSpec, root: Path, workers: int) -> bool:
    """Tell whether all files of the complete split are there and match their checksums."""
    manifest = Manifest(spec, root)
    labels = [path for path in manifest.digests if path.parent == root / spec.label_dir]
    if len(labels) != spec.image_count or manifest.verify(workers=workers):
        return False
    _say(sys.stdout, f"{spec.name}: all {spec.image_count} label maps are there and match their checksums")
    return True


def _find(spec: DatasetSpec, recipe: Recipe, root: Path, *, subset: bool) -> tuple[list[Job], list[str]]:
    try:
        return select(recipe.find(spec, root), spec, subset=subset)
    except (FileNotFoundError, ValueError) as error:
        if debugging():
            raise
        return [], [f"{spec.split}: {error}"]


def _report(spec: DatasetSpec, root: Path, manifest: Manifest, outcome: Outcome, wanted: int, *, subset: bool) -> int:
    """Say how it went, and return the exit status."""
    folder = root / spec.label_dir
    left_out = f", {outcome.left_out} left out, which show no class" if outcome.left_out else ""
    _say(
        sys.stdout,
        f"{spec.name}: {len(outcome.ready)} of {wanted} label maps are ready in {folder}{left_out}",
        f"checksums in {manifest.path}, SHA-256 of all: {manifest.checksum()}",
    )
    failures = outcome.failures
    if failures:
        more = [f"... and {len(failures) - _MAX_LISTED} more"] if len(failures) > _MAX_LISTED else []
        _say(sys.stderr, f"{len(failures)} could not be made:", *failures[:_MAX_LISTED], *more)
    there = set(files_by_name(folder, spec.label_extension)) if outcome.ready else set()
    foreign = set() if subset else there - outcome.ready
    if foreign:
        _say(sys.stderr, f"{len(foreign)} other label maps in {folder} were not made now: {listed(foreign)}")
    return _FAILED if failures or foreign else 0


def _verify(spec: DatasetSpec, root: Path, workers: int) -> int:
    """Compare the files of a split with their checksums, and return the exit status."""
    manifest = Manifest(spec, root)
    wrong = manifest.verify(workers=workers)
    if not manifest.digests:
        _say(sys.stderr, f"{spec.name}: there are no checksums in {manifest.path}: it was not prepared")
    elif wrong:
        names = listed([str(path) for path in wrong])
        _say(sys.stderr, f"{spec.name}: {len(wrong)} of {len(manifest.digests)} files are missing or damaged: {names}")
        _say(sys.stderr, f"To make them again, run: {spec.command} --root {root}")
    else:
        _say(sys.stdout, f"{spec.name}: {len(manifest.digests)} files match their checksums")
    return 0 if manifest.digests and not wrong else _FAILED


def _parse(description: str | None, prepared: Prepared, arguments: Sequence[str] | None) -> argparse.Namespace:
    splits = [spec.split for spec, _ in prepared]
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--root", metavar="DIR", help="folder of all data sets; default: $DETECTRON2_DATASETS, or else datasets"
    )
    parser.add_argument(
        "--splits", nargs="+", choices=splits, default=splits, help=f"of {' '.join(splits)}; default: all"
    )
    parser.add_argument(
        "--subset", action="store_true", help="prepare what is there, though it is not the complete data set"
    )
    parser.add_argument(
        "--verify", action="store_true", help="make nothing, compare the files that were made with their checksums"
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes; default: %(default)s"
    )
    add_debug_option(parser)
    options = parser.parse_args(arguments)
    if options.workers < 1:
        parser.error(f"--workers must be at least 1, got {options.workers}")
    return options


def _say(stream: TextIO, *lines: str) -> None:
    stream.writelines(f"{line}\n" for line in lines)
