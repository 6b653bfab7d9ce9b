"""What `catseg train` and `catseg eval` say to the training command: a model, data sets and settings, as its words."""

import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from catseg.api.loading import training_classes
from catseg.api.registry import find_model
from catseg.cli.main import WRONG_USE
from catseg.config import load_config
from catseg.data.formats.splitting import shared_images
from catseg.data.own import register_own
from catseg.data.registration import dataset_vocabulary, register_datasets
from catseg.engine.command import main
from catseg.errors import InputError
from catseg.vocabulary import Vocabulary, typed_line

logger = logging.getLogger(__name__)

PASSES, FEWEST_STEPS, MOST_STEPS = 30, 200, 8000  # of a training over small data
EVALUATIONS, PATIENCE = 10, 3  # of a training: all, and those in a row without better weights that end it
LEARNING_RATE = 1e-4  # half of the published training's, which starts from CLIP alone


def run_training_command(words: Sequence[str], command: str) -> None:
    """Run the training command, whose log goes to standard error.

    Raises:
        SystemExit: as `catseg.engine.command.main`.
    """
    with _output_to_standard_error():
        main(words, command=command, wrong_use=WRONG_USE)


@contextmanager
def _output_to_standard_error() -> Iterator[None]:
    """Send what is printed to standard error, by the processes that this one starts, too."""
    sys.stdout.flush()
    output = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(output, 1)
        os.close(output)


def model_words(model: str, device: str | None, gpus: int | None) -> list[str]:
    """Return the words that choose a model and where it runs; those of options follow.

    Args:
        model: as `catseg.load` takes it.
        device: as torch names it; None leaves that of the config.
        gpus: number of processes, on GPUs one each; None for one, or those that a launcher started.

    Raises:
        FileNotFoundError, ValueError: as `catseg.load`.
    """
    found = find_model(model)
    chosen = {} if device is None else {"MODEL.DEVICE": device}
    processes = [] if gpus is None else ["--num-gpus", str(gpus)]
    return ["--config-file", str(found.config_file), *processes, *found.options, *option_words(chosen)]


def option_words(options: Mapping[str, str]) -> list[str]:
    """Return config keys and values as KEY VALUE pairs."""
    return [word for pair in options.items() for word in pair]


def evaluated_splits(
    data: Sequence[str], *, format: str | None, unlabelled: str | None
) -> tuple[list[str], dict[str, str]]:
    """Return the data sets that are evaluated, which are registered if they are one's own, and options for them.

    Of own data it is the test split, or else the validation split. Arguments as in `register_own`.
    """
    register_datasets()
    names, own, options = [], [], {}
    for word in data:
        if word in DatasetCatalog.list():
            names.append(word)
            continue
        if not Path(word).expanduser().exists():
            raise InputError(
                f"no data set is called {word!r}, and no file or folder either; `catseg data list` shows all"
            )
        names.append(_split(register_own(word, format=format, unlabelled=unlabelled), "test", "val"))
        own.append(word)
        options["MODEL.SEM_SEG_HEAD.IGNORE_VALUE"] = str(MetadataCatalog.get(names[-1]).ignore_label)
    return names, options | _own_options(own, format, unlabelled)


def training_options(
    data: str,
    *,
    model: str,
    format: str | None,
    unlabelled: str | None,
    batch: int,
    steps: int | None,
    keep: float,
) -> dict[str, str]:
    """Register own data, and return the options that train on them.

    The classes and the context of the model that comes out are recorded, so that it does not need the data.

    Args:
        data: a file or folder.
        model: that the training starts from, as `catseg.load` takes it.
        format: of the data, None to find out.
        unlabelled: class of the pixels that nobody labelled.
        batch: images of a step.
        steps: length of the training; None for one that suits the number of images.
        keep: share of the starting weights, if there are any, in those that come out, 0..1.
    """
    found = find_model(model)
    start = load_config(found.config_file, found.options)
    splits = register_own(data, format=format, unlabelled=unlabelled)
    train, val = _split(splits, "train"), _split(splits, "val", "test")
    images = len(DatasetCatalog.get(train))
    _warn_of_shared_images(train, val)
    steps = steps or min(MOST_STEPS, max(FEWEST_STEPS, math.ceil(PASSES * images / batch)))
    period = max(1, steps // EVALUATIONS)
    return {
        "DATASETS.TRAIN": repr((train,)),
        "DATASETS.TEST": repr((val,)),
        "DATASETS.TRAIN_CLASSES": "",
        "DATASETS.TEST_CLASSES": "",
        "DATASETS.CONTEXT_CLASSES": typed_line(_context(start, dataset_vocabulary(train))),
        "MODEL.SEM_SEG_HEAD.IGNORE_VALUE": str(MetadataCatalog.get(train).ignore_label),
        "SOLVER.IMS_PER_BATCH": str(batch),
        "SOLVER.MAX_ITER": str(steps),
        "SOLVER.BASE_LR": str(LEARNING_RATE),
        "SOLVER.WISE_FT_ALPHA": str(1 - keep if start.MODEL.WEIGHTS else 1.0),
        "SOLVER.CHECKPOINT_PERIOD": str(period),
        "TEST.EVAL_PERIOD": str(period),
        "TEST.PATIENCE": str(PATIENCE),
        **_own_options([data], format, unlabelled),
    }


def _warn_of_shared_images(train: str, val: str) -> None:
    for_training, for_validation = ([Path(r["file_name"]) for r in DatasetCatalog.get(name)] for name in (train, val))
    shared = shared_images(for_validation, for_training)
    if shared:
        logger.warning(
            "%d of %d images for validation, such as %s, are also for training, so that scores on them say little: "
            "catseg data check lists them",
            *(len(shared), len(for_validation), shared[0]),
        )


def _context(start: CfgNode, own: Vocabulary) -> Vocabulary:
    """Return own classes, and those of the training before that are none of them by any name."""
    before = training_classes(start) or Vocabulary()
    words = {word.casefold() for synonyms in own.synonyms for word in synonyms}
    others = [synonyms for synonyms in before.synonyms if words.isdisjoint(word.casefold() for word in synonyms)]
    return Vocabulary([*own.synonyms, *others], "the context of the trained model")


def _own_options(data: Sequence[str], format: str | None, unlabelled: str | None) -> dict[str, str]:
    """Return the options that make other processes, and later runs with the same config, register own data."""
    paths = tuple(str(Path(path).expanduser().absolute()) for path in data)
    return {
        "DATASETS.OWN": repr(paths),
        "DATASETS.OWN_FORMAT": format or "",
        "DATASETS.OWN_UNLABELLED": unlabelled or "",
    }


def _split(names: Sequence[str], *wanted: str) -> str:
    for split in wanted:
        found = [name for name in names if name.endswith(f"_{split}")]
        if found:
            return found[0]
    raise InputError(f"the data have no split called {' or '.join(wanted)}: there are {', '.join(names)}")
