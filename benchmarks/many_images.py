"""Many images by the engines of `catseg.batch`, beside a plain loop: images per second, overhead per image, memory.

    python benchmarks/many_images.py --images 2000 --workers 1 2 --json

Generated images are segmented and their label maps written, by a loop in this process and by each engine with each
number of workers. `start` is what passes before the first piece of the work is begun: processes, imports, weights. The
overhead is a worker's time for an image, less the loop's; with several workers, it holds what they lose to one another.
Memory is the largest of this process and of any worker, as `ps` shows it. The smaller the network, the more the rest
shows: the default is the smallest that there is.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness import calibrate, machine
from benchmarks.models import load_model, random_image
from benchmarks.reports import Report, add_model_options, make_parser, publish
from catseg.api.model import CATSegModel
from catseg.arguments import positive
from catseg.batch import segment_dataset
from catseg.errors import UserError

SIZE = (120, 160)  # rows and columns
CLASSES = "sofa, cat, night sky"
_WORKERS = ("ray::MapWorker", "ray::Map", "multiprocessing.spawn")
_SECONDS_BETWEEN = 0.25  # looks at the memory

Figures = dict[str, float]


def write_images(folder: Path, images: int) -> None:
    """Write different images."""
    folder.mkdir()
    pixels = random_image(*SIZE).permute(1, 2, 0).numpy()
    for index in range(images):
        Image.fromarray(np.roll(pixels, 7 * index, axis=1)).save(folder / f"{index:06d}.png")


def plain_loop(model: CATSegModel, photos: Path, output: Path) -> float:
    """Segment and write one image after another; return the seconds."""
    output.mkdir()
    start = time.perf_counter()
    for result in model.segment(photos, CLASSES, threshold=0):
        if result.source is not None:
            result.save_labels(output / f"{result.source.stem}_labels.png")
    return time.perf_counter() - start


def run_engine(model: CATSegModel, photos: Path, output: Path, engine: str, workers: int) -> Figures:
    """Segment by an engine; return what it cost."""
    spent: list[float] = []
    with largest_memory() as memory:
        done = segment_dataset(
            photos,
            CLASSES,
            output,
            model=model,
            engine=engine,
            workers=workers,
            threshold=0,
            report=lambda row: spent.append(row["seconds"]),
        )
    busy = sum(spent) / workers
    return {
        "seconds": done.seconds,
        "start": max(0.0, done.seconds - busy),
        "images_per_second": len(spent) / busy,
        "milliseconds": 1e3 * sum(spent) / len(spent),
        "driver_mib": memory["driver"],
        "worker_mib": memory["worker"],
    }


@contextmanager
def largest_memory() -> Iterator[Figures]:
    """Give the largest resident memory of this process and of a worker below it, in MiB, once the block has ended."""
    found, ended = {"driver": 0.0, "worker": 0.0}, threading.Event()

    def look() -> None:
        while not ended.wait(_SECONDS_BETWEEN):
            found["driver"] = max(found["driver"], _resident(Path("/proc/self")))
            for process in _below(os.getpid()):
                found["worker"] = max(found["worker"], _resident(process))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()


def _below(top: int) -> list[Path]:
    """Return the workers among the processes that this one started, and that these did."""
    parents: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        text = _read(process / "stat")
        if text:
            parents[int(process.name)] = int(text.rpartition(")")[2].split()[1])
    found, kin = [], {top}
    for number in sorted(parents):  # parents have smaller numbers, unless these begin anew
        if parents[number] in kin:
            kin.add(number)
            if any(word in _read(Path("/proc", str(number), "cmdline")) for word in _WORKERS):
                found.append(Path("/proc", str(number)))
    return found


def _resident(process: Path) -> float:
    text = _read(process / "statm")
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if text else 0.0


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:  # it has ended
        return ""


def runs(args: argparse.Namespace, folder: Path) -> dict[str, Figures]:
    """Measure the loop, and each engine with each number of workers."""
    config, module = load_model(args.config, args.opts, given_text=True)
    model = CATSegModel(module, config, trained=False)
    write_images(folder / "photos", args.images)
    seconds = plain_loop(model, folder / "photos", folder / "plain")
    plain = 1e3 * seconds / args.images
    found = {"plain loop": {"seconds": seconds, "images_per_second": args.images / seconds, "milliseconds": plain}}
    for engine in args.engines:
        for workers in args.workers:
            name = f"{engine}, {workers} worker{'s' * (workers > 1)}"
            figures = run_engine(model, folder / "photos", folder / name.replace(", ", "-"), engine, workers)
            found[name] = {**figures, "overhead": figures["milliseconds"] - plain}
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for."""
    parser = _parser()
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])  # of Ray's workers
    first = calibrate()
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = runs(args, Path(folder))
        except (OSError, UserError) as error:
            parser.error(str(error))
    report = Report(
        title="Many images",
        settings={"config": args.config, "options": " ".join(args.opts) or "none", "images": args.images},
        machine=machine(),
        calibration=(first, calibrate()),
        rows=[{"": name, **{key: f"{value:.3g}" for key, value in figures.items()}} for name, figures in found.items()],
        raw=found,
        measures=found,
    )
    publish(report, args, parser)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("many_images", __doc__, rounds=1)
    add_model_options(parser, "configs/catseg_shapes.yaml")
    parser.add_argument("--images", type=positive, default=2000, help="images (default: %(default)s)")
    parser.add_argument("--workers", type=positive, nargs="+", default=[1, 2], help="numbers (default: 1 2)")
    parser.add_argument("--engines", nargs="+", choices=("local", "ray"), default=["local", "ray"])
    return parser


if __name__ == "__main__":
    main()
