"""Evaluate models on benchmarks, and set the numbers beside the published ones.

python -m catseg.benchmark --models v2-large v1-large --datasets all
"""

import argparse
import logging
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from torch.multiprocessing import ProcessRaisedException

from catseg.arguments import file_path, positive
from catseg.benchmark.page import write_benchmark_page
from catseg.benchmark.pair_evaluation import LastModel, evaluate_pair
from catseg.benchmark.plan import Pair, find_datasets, find_models
from catseg.benchmark.published import BENCHMARKS, MODELS, paper_name
from catseg.benchmark.store import describe_settings, pair_folder, read_pair
from catseg.benchmark.table import Row, make_row, signed, write_tables
from catseg.config import load_config
from catseg.console import INTERRUPTED, add_debug_option, errors_in_one_line, one_line, shows_traceback
from catseg.data.records import dataset_records
from catseg.data.registration import dataset_vocabulary, register_datasets
from catseg.engine.launch import launch
from catseg.engine.setup import argument_parser, setup
from catseg.errors import InputError, RunError, UserError
from catseg.official_config import COUNTERPARTS

DONE, INCOMPLETE, WRONG_USE = 0, 1, 2

_EPILOG = f"""\
models:
  {", ".join(MODELS)}: as published, downloaded on first use
  all: all of these
  [NAME=]CONFIG.yaml[:WEIGHTS]: your own, NAME is what tables call it; training-free:CLIP/WEIGHTS: CLIP alone

data sets:
  {", ".join(BENCHMARKS)}: as papers call them
  all: all of these
  a registered name, such as shapes_unseen_test_sem_seg
  They are looked for in $DETECTRON2_DATASETS, or else ./datasets; datasets/README.md says how to make them.

results, in OUTPUT:
  results.md, results.json, results.csv   the table, with published numbers, differences and sources
  index.html                              the same with IoU per class, worst confusions and worst images
  pairs/MODEL/DATASET/                    what is kept of each pair. Running the command again evaluates what is missing
                                          or was evaluated with other settings, weights or data.

examples:
  python -m catseg.benchmark --models v2-large v1-large --datasets all --num-gpus 4
  python -m catseg.benchmark --models ours=my.yaml:my.pth --datasets A-150 --opts TEST.AUG.ENABLED True
  python -m catseg.benchmark --models v2-large --datasets A-150 --opts DATASETS.TEST_CLASSES other_names_of_a150.json
  python -m catseg.benchmark --models configs/catseg_shapes.yaml:output/catseg_shapes/model_final.pth \\
      --datasets shapes_seen_test_sem_seg shapes_unseen_test_sem_seg

exit status:
  0    all pairs are in the table
  1    data or weights of some are missing or cannot be used: they are listed, the others are in the table
  2    wrong arguments; nothing was done
  130  interrupted with Ctrl-C; the same command goes on
"""

logger = logging.getLogger("catseg.benchmark")


@dataclass(frozen=True)
class Work:
    """A pair to evaluate, what its numbers depend on, and its number of images."""

    pair: Pair
    settings: dict[str, Any]
    images: int


@dataclass
class Benchmark:
    """The pairs that the command line asks for, and their progress.

    Attributes:
        args: of the command line.
        pairs: all that were asked for and whose data are there.
        rows: of the table so far.
        records: of the pairs in the table, with their folders.
        samples: records of the images, of each data set that is there.
        problems: why data sets or pairs are left out, by their names.
    """

    args: argparse.Namespace
    pairs: list[Pair] = field(default_factory=list)
    rows: dict[Pair, Row] = field(default_factory=dict)
    records: dict[Pair, dict[str, Any]] = field(default_factory=dict)
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def run(self) -> int:
        """Evaluate what is missing and write the reports after each pair; return the exit status."""
        work = self._plan()
        self._report()
        logger.info("%d pairs are there, %d are to be evaluated", len(self.rows), len(work))
        models, start, done = LastModel(), time.perf_counter(), 0
        for place, item in enumerate(work, 1):
            if item.pair.model.name not in self.problems:
                logger.info("%s, %d of %d", item.pair, place, len(work))
                self._evaluate(item, models)
                self._report()
            done += item.images
            left = sum(other.images for other in work[place:]) * (time.perf_counter() - start) / done
            if place < len(work):
                logger.info("About %s left", _duration(left))
        return self._conclude()

    def _plan(self) -> list[Work]:
        """List what is to be evaluated, and read what is there."""
        for dataset in self.args.datasets:
            try:
                self.samples[dataset] = dataset_records([dataset])
            except Exception as error:  # whatever it is, the others are evaluated
                self._leave_out(paper_name(dataset), error)
        self.pairs = [Pair(model, dataset) for model in self.args.models for dataset in self.samples]
        work = []
        for pair in self.pairs:
            try:
                settings = self._settings(pair)
            except Exception as error:  # whatever it is, the others are evaluated
                self._leave_out(str(pair), error)
                continue
            item = Work(pair, settings, len(self.samples[pair.dataset]))
            if not self._take(item):
                work.append(item)
        return work

    def _settings(self, pair: Pair) -> dict[str, Any]:
        cfg = load_config(pair.model.config_file, self._options(pair))
        vocabulary = dataset_vocabulary(pair.dataset, cfg.DATASETS.TEST_CLASSES)
        classes = [*vocabulary, *MetadataCatalog.get(pair.dataset).get("scored_classes", ())]
        return describe_settings(cfg, self.samples[pair.dataset], classes)

    def _options(self, pair: Pair) -> list[str]:
        own = ["DATASETS.TEST", f"('{pair.dataset}',)", "OUTPUT_DIR", str(pair_folder(self.args.output, pair))]
        return [*pair.model.options, *self.args.opts, *own, *self._names(pair)]

    def _names(self, pair: Pair) -> list[str]:
        """Leave the class names of a config to the data sets that it tests on: it may be evaluated on any other."""
        if "DATASETS.TEST_CLASSES" in _keys(self.args.opts):
            return []
        own = pair.dataset in load_config(pair.model.config_file).DATASETS.TEST
        return [] if own else ["DATASETS.TEST_CLASSES", ""]

    def _evaluate(self, item: Work, models: LastModel) -> None:
        """Evaluate a pair and take it into the table, or leave it out; leave out a model that cannot be set up."""
        words = ["--eval-only", f"--num-gpus={self.args.num_gpus}", f"--config-file={item.pair.model.config_file}"]
        try:
            cfg = setup(argument_parser("").parse_args([*words, *self._options(item.pair)]))
            item = replace(item, settings=self._settings(item.pair))  # weights that setup downloaded have a commit now
            if self._take(item):
                return
        except Exception as error:  # whatever it is, the others are evaluated
            self._leave_out(item.pair.model.name, error)
            return
        folder = pair_folder(self.args.output, item.pair)
        arguments = (cfg, item.pair, item.settings, folder, models)
        try:
            launch(evaluate_pair, num_processes=self.args.num_gpus, device=cfg.MODEL.DEVICE, args=arguments)
            if not self._take(item):
                raise RunError(f"{folder} holds no results: is another run writing to it?")
        except Exception as error:
            self._leave_out(str(item.pair), error)

    def _take(self, item: Work) -> bool:
        """Take what is kept of a pair into the table; tell whether there is anything."""
        record = read_pair(pair_folder(self.args.output, item.pair), item.settings)
        if record is None:
            return False
        row = make_row(item.pair, record)
        self.records[item.pair], self.rows[item.pair] = record, row
        beside = "" if row.published is None else f", published {row.published:.1f}"
        beside += "" if row.difference is None else f", {signed(row.difference)}"
        logger.info("%s: mIoU %.2f%s, %d images", item.pair, row.miou, beside, row.images)
        return True

    def _leave_out(self, name: str, error: BaseException) -> None:
        # Of an error in another process, the text is the whole traceback.
        lines = str(one_line(error) or error).strip().splitlines()
        self.problems[name] = lines[-1] if isinstance(error, ProcessRaisedException) else "\n".join(lines)
        logger.error("left out: %s: %s", name, self.problems[name], exc_info=error if shows_traceback(error) else None)

    def _report(self) -> None:
        done = [pair for pair in self.pairs if pair in self.rows]
        rows = [self.rows[pair] for pair in done]
        options = [f"Evaluated with {shlex.join(self.args.opts)}."] if self.args.opts else []
        notes = [*options, *(f"Left out: {name}: {reason}" for name, reason in self.problems.items())]
        write_tables(self.args.output, rows, notes)
        folders = [pair_folder(self.args.output, pair) for pair in done]
        write_benchmark_page(
            self.args.output / "index.html",
            rows,
            [self.records[pair] for pair in done],
            folders=folders,
            options=self.args.opts,
            left_out=self.problems,
        )

    def _conclude(self) -> int:
        table = (self.args.output / "results.md").read_text(encoding="utf-8")
        sys.stdout.write(f"\n{table}\nThe page with classes and images: {self.args.output / 'index.html'}\n")
        return INCOMPLETE if self.problems else DONE


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; leaves the process with status 2 if it is wrong.

    Args:
        arguments: by default this process's.

    Returns:
        `models`: of `find_models`; `datasets`: of `find_datasets`; `output`, `num_gpus`, `opts`.
    """
    parser = argparse.ArgumentParser(
        prog="python -m catseg.benchmark",
        description="Evaluate models on benchmarks, and set the numbers beside the published ones.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", required=True, nargs="+", metavar="MODEL", help="see below")
    parser.add_argument("--datasets", required=True, nargs="+", metavar="DATASET", help="see below")
    parser.add_argument(
        "--output", type=file_path, default=Path("output/benchmark"), metavar="FOLDER", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--num-gpus", type=positive, default=1, metavar="N", help="GPUs to use; without any, processes (default: 1)"
    )
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="config overrides, KEY VALUE pairs; the last argument"
    )
    add_debug_option(parser)
    args = parser.parse_args(arguments)
    register_datasets()
    try:
        args.models, args.datasets = find_models(args.models), find_datasets(args.datasets)
        for model in args.models:
            load_config(model.config_file, args.opts)
        _check_options(args)
    except (OSError, UserError) as error:
        parser.error(str(error))
    return args


def _check_options(args: argparse.Namespace) -> None:
    """Refuse overrides of what other arguments decide, which would have no effect."""
    given = _keys(args.opts)
    instead = {
        "DATASETS.TEST": "--datasets names what to evaluate on",
        "OUTPUT_DIR": "--output names the folder",
        "TEST.SAVE_PREDICTIONS": "train_net.py --eval-only writes predictions",
    }
    if any(model.weights is not None for model in args.models):
        instead["MODEL.WEIGHTS"] = "weights are given as CONFIG.yaml:WEIGHTS, and published models have theirs"
    for key, reason in instead.items():
        if key in given:
            raise InputError(f"{key} has no effect in --opts: {reason}")


def _keys(options: Sequence[str]) -> set[str]:
    """Return the keys of overrides, those of the authors' code by what they are here."""
    return {COUNTERPARTS.get(key, key) for key in options[::2]}


@errors_in_one_line("catseg.benchmark")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: by default this process's.

    Returns:
        The exit status, as `--help` lists it.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logger.setLevel(logging.INFO)
    args = parse_arguments(arguments)
    try:
        return Benchmark(args).run()
    except KeyboardInterrupt:
        logger.error("interrupted; the same command goes on from what is finished")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
