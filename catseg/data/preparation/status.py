"""Which of the benchmarks' data sets are there, what is missing, and which commands come next."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from catseg.data.dataset_specs import DatasetSpec
from catseg.data.downloads import Download
from catseg.data.pairs import files_by_name, listed, paired_files
from catseg.data.preparation.manifest import Manifest


@dataclass(frozen=True)
class Status:
    """State of a split on this machine.

    Attributes:
        spec: the split.
        label_maps: number of its label maps.
        checked: number of them that have a checksum.
        missing: the downloads that are not there.
        problem: what is wrong with its files, if something is.
    """

    spec: DatasetSpec
    label_maps: int
    checked: int
    missing: tuple[Download, ...]
    problem: str = ""

    @property
    def ready(self) -> bool:
        """Tell whether it is complete."""
        return self.label_maps == self.spec.image_count and not self.problem

    @property
    def summary(self) -> str:
        """Describe its state in a few words."""
        if self.problem:
            return f"incomplete: {self.problem}"
        if self.ready:
            return "ready" if self.checked == self.label_maps else "ready, without checksums"
        if self.label_maps:
            return f"a part: {self.label_maps} of {self.spec.image_count} images"
        if self.missing:
            if len(self.missing) == len(self.spec.downloads):
                return "not downloaded"
            return f"missing: {', '.join(download.gives for download in self.missing)}"
        return "downloaded, not prepared"


def status_of(spec: DatasetSpec, root: Path) -> Status:
    """Look for the files of a split.

    Args:
        spec: the split.
        root: folder of all data sets.
    """
    folder, images = root / spec.label_dir, root / spec.image_dir
    missing = tuple(download for download in spec.downloads if not (root / download.gives).exists())
    try:
        files = files_by_name(folder, spec.label_extension)
    except FileNotFoundError:
        return Status(spec, 0, 0, missing)
    digests = Manifest(spec, root).digests
    checked = sum(path in digests for path in files.values())
    try:
        paired_files(images, spec.image_extension, folder, spec.label_extension, more_images=spec.shared_images)
    except FileNotFoundError as error:
        return Status(spec, len(files), checked, missing, str(error))
    return Status(spec, len(files), checked, missing)


def status_table(statuses: Iterable[Status]) -> str:
    """Lay out how far data sets are, a row for each."""
    rows = [
        {
            "data set": status.spec.name,
            "images": status.spec.image_count,
            "prepared": status.label_maps,
            "state": status.summary,
        }
        for status in statuses
    ]
    return tabulate(rows, headers="keys", tablefmt="simple")


def next_steps(statuses: Iterable[Status], root: Path) -> str:
    """List the commands that make what is not ready, once for data sets that are made together."""
    names: dict[tuple[str, ...], list[str]] = {}
    for status in statuses:
        if not status.ready:
            names.setdefault(tuple(status.spec.steps(root)), []).append(status.spec.name)
    blocks = ["\n".join([f"{', '.join(group)}:", *(f"  {step}" for step in steps)]) for steps, group in names.items()]
    return "\n\n".join(blocks)


def dataset_table(specs: Iterable[DatasetSpec]) -> str:
    """Lay out names, classes, sizes and folders of data sets, a row for each."""
    rows = [
        {
            "data set": spec.name,
            "classes": len(spec.scored_classes or spec.classes),
            "vocabulary": spec.vocabulary,
            "images": spec.image_count,
            "label maps": f"{spec.label_dir}/*.{spec.label_extension}",
            "ignored": spec.ignore_label,
        }
        for spec in specs
    ]
    return tabulate(rows, headers="keys", tablefmt="simple")


def verify(specs: Iterable[DatasetSpec], root: Path, *, workers: int) -> list[str]:
    """Compare the files of data sets with their checksums, with a progress bar.

    Returns:
        A line for each data set that has files which are missing or differ.
    """
    lines = []
    for spec in specs:
        wrong = Manifest(spec, root).verify(workers=workers)
        if wrong:
            lines.append(
                f"{spec.name}: {len(wrong)} files are missing or differ from their checksums, "
                f"{listed([str(path) for path in wrong])}; to make them again: {spec.command} --root {root}"
            )
    return lines
