"""Evaluation of a data set beside the network's own time: how much of loading and scoring the network waits for.

    python benchmarks/evaluation_loop.py --images 20 --threads 1 --json

Random images of ADE20K's usual size and labels for them are written in its layout, and evaluated as `--eval-only`
does, with all classes of ADE20K-150. The network's own time is that of the same images when they are in memory and
nothing is scored. The smaller the network, the more the rest shows: the default is the smallest that there is.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.evaluation import inference_on_dataset
from PIL import Image
from tqdm import tqdm

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness import calibrate, machine, time_in_turn
from benchmarks.models import load_model, random_image
from benchmarks.reports import Report, add_model_options, make_parser, publish
from catseg.arguments import positive
from catseg.data.registration import dataset_vocabulary, register_datasets
from catseg.engine.evaluate import LabelPredictor, build_evaluator, build_test_loader
from catseg.errors import UserError

DATASET = "ade20k_150_test_sem_seg"
SIZE = (512, 683)  # rows and columns
BLOCK = 32  # side of a region of one class, in pixels


def write_dataset(root: Path, images: int) -> None:
    """Write images, and labels with regions of random classes, as the prepared ADE20K-150 has them."""
    folder = root / "ADEChallengeData2016"
    random = np.random.default_rng(0)
    pixels = random_image(*SIZE).permute(1, 2, 0).numpy()
    cells = [-(-side // BLOCK) for side in SIZE]
    for i in range(images):
        labels = random.integers(150, size=cells, dtype=np.uint8).repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)
        for kind, name, array in (
            ("images/validation", f"{i}.jpg", np.roll(pixels, 30 * i, axis=1)),
            ("annotations_detectron2/validation", f"{i}.png", labels[: SIZE[0], : SIZE[1]]),
        ):
            path = folder / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)


def runs(config: str, options: Sequence[str], folder: Path) -> dict[str, Callable[[], object]]:
    """The evaluation of the registered data set, and the network alone on the same images.

    Args:
        config: a config file.
        options: overrides as a flat list.
        folder: for the scores.
    """
    cfg, model = load_model(config, ["OUTPUT_DIR", str(folder), *options], given_text=True)
    model.set_vocabulary(dataset_vocabulary(DATASET))
    predictor = LabelPredictor(model).eval()
    samples = list(build_test_loader(cfg, DATASET))

    def evaluation() -> object:
        return inference_on_dataset(predictor, build_test_loader(cfg, DATASET), build_evaluator(cfg, DATASET))

    def network() -> object:
        with torch.no_grad():
            return [predictor(batch) for batch in tqdm(samples, unit="image", disable=None)]

    return {"evaluation": evaluation, "network": network}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for."""
    parser = _parser()
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    first = calibrate()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_dataset(root, args.images)
        try:
            register_datasets(root)
            timings = time_in_turn(
                runs(args.config, args.opts, root), rounds=args.rounds, warmup=0, clock=time.perf_counter
            )
        except (OSError, UserError) as error:
            parser.error(str(error))
    evaluation, network = timings["evaluation"], timings["network"]
    figures = {
        "evaluation_seconds": evaluation.median,
        "network_seconds": network.median,
        "ratio": evaluation.median / network.median,
    }
    report = Report(
        title="Evaluation of a data set",
        settings={
            "config": args.config,
            "options": " ".join(args.opts) or "none",
            "images": args.images,
            "rounds": args.rounds,
        },
        machine=machine(),
        calibration=(first, calibrate()),
        rows=[{name: f"{value:.3g}" for name, value in figures.items()}],
        raw={name: list(timing.seconds) for name, timing in timings.items()},
        measures={"evaluation": figures},
        headline=figures,
    )
    publish(report, args, parser)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("evaluation", __doc__, rounds=3)
    add_model_options(parser, "configs/catseg_shapes.yaml")
    parser.add_argument("--images", type=positive, default=20, help="images (default: %(default)s)")
    return parser


if __name__ == "__main__":
    main()
