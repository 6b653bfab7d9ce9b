"""From command line arguments to a checked config, and what each process of a run does first."""

import argparse
import logging
import platform
import sys
from pathlib import Path

import detectron2
import torch
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger

from catseg import __version__
from catseg.atomic import write_json
from catseg.build import check_names, check_trains, usable_device
from catseg.checkpoint.checkpointer import without_spare_weights
from catseg.checkpoint.files import find_checkpoints, forget_read_ahead, last_checkpoint, require_file
from catseg.checkpoint.sources import fetch, hub_file
from catseg.config import load_config, read_config
from catseg.console import add_debug_option, quieten_console
from catseg.data.checks import check_label_maps
from catseg.data.own import made_splits, register_configured
from catseg.data.registration import register_datasets
from catseg.engine.evaluate import check_best_metric, check_evaluation, check_test_sets
from catseg.engine.hooks import check_checkpoints
from catseg.engine.optimizer import check_optimizer
from catseg.engine.resuming import CONFIG_FILE, check_resumable, report_changes, write_config
from catseg.engine.schedule import check_schedule
from catseg.engine.starting_weights import check_alpha
from catseg.engine.training_data import check_batches, check_training_sets
from catseg.engine.training_step import step_options
from catseg.engine.wandb_writer import import_wandb
from catseg.errors import InputError
from catseg.modeling.clip.loading import model_config

MADE_SPLITS = "validation_split.json"  # of OUTPUT_DIR: images that were taken from the training, by data set

logger = logging.getLogger(__name__)


def argument_parser(examples: str) -> argparse.ArgumentParser:
    """Build the parser of a training command.

    Args:
        examples: printed below its `--help`.

    Returns:
        Detectron2's parser, whose `--dist-url` is "auto" by default, and `--num-gpus` None, which `setup` makes 1.
    """
    parser = default_argument_parser(epilog=examples)
    parser.set_defaults(dist_url="auto", num_gpus=None)
    add_debug_option(parser)
    return parser


def setup(args: argparse.Namespace, *, gpus: int | None = None) -> CfgNode:
    """Read the config and check, before anything slow begins, that the run can do what it asks for.

    Args:
        args: of Detectron2's `default_argument_parser`.
        gpus: GPUs that this process has to see; as many as `--num-gpus` when omitted.

    Returns:
        The config, frozen; MODEL.DEVICE is "cpu" where there is no GPU.

    Raises:
        FileNotFoundError: if the config file, the weights, the checkpoint to resume from or a dataset are missing, or
            weights on the Hugging Face hub cannot be downloaded.
        FileExistsError: if training would mix with an earlier run in OUTPUT_DIR.
        ValueError: if the config cannot be read, its values do not fit together, or they are not those of the run to
            resume.
    """
    if args.num_gpus is None:
        args.num_gpus = 1
    cfg = load_config(args.config_file, args.opts or [])
    _check_device(cfg.MODEL.DEVICE, processes=args.num_gpus * args.num_machines)
    cfg.MODEL.DEVICE = usable_device(cfg.MODEL.DEVICE)
    check_names(cfg)
    _check_processes(cfg, args, gpus=args.num_gpus if gpus is None else gpus)
    _check_values(cfg, training=not args.eval_only, processes=args.num_gpus * args.num_machines)
    if cfg.LOGGING.WANDB_PROJECT and not args.eval_only:
        import_wandb(cfg.LOGGING.WANDB_PROJECT)  # for its own checks
    start = starting_weights(cfg, args)
    if args.resume and not args.eval_only:
        check_resumable(cfg)
    _check_weights(cfg, start)
    if args.num_gpus > 1:
        forget_read_ahead()  # other processes load the weights
    _register(cfg)
    _check_data(cfg, training=not args.eval_only)
    if not args.eval_only and not args.resume:
        _check_output_folder(Path(cfg.OUTPUT_DIR))
    if hub_file(start) is not None:
        fetch(start)  # once, before there are several processes
    cfg.freeze()
    return cfg


def starting_weights(cfg: CfgNode, args: argparse.Namespace) -> str:
    """Tell which weights a run starts from.

    Args:
        cfg: of `setup`.
        args: as in `setup`.

    Returns:
        What `catseg.checkpoint.sources.fetch` takes: with `--resume` the last checkpoint of OUTPUT_DIR, or else, unless
        evaluation alone is asked for, MODEL.WEIGHTS, as without it. "" for the weights that the model is built with.

    Raises:
        FileNotFoundError: if there is no last checkpoint but needs to be.
    """
    last = last_checkpoint(Path(cfg.OUTPUT_DIR)) if args.resume else None
    if last is None and args.resume and args.eval_only:
        raise FileNotFoundError(
            f"{cfg.OUTPUT_DIR} holds no checkpoint for --resume: choose the output folder of a run, "
            "or give a checkpoint as MODEL.WEIGHTS, without --resume"
        )
    return cfg.MODEL.WEIGHTS if last is None else str(last)


def start_process(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Register the datasets, start logging and seed the random generators, in each process of a run.

    Args:
        cfg: of `setup`. The main process writes it to OUTPUT_DIR, as `config.yaml` or `eval_config.yaml`.
        args: as in `setup`.
    """
    _register(cfg)
    folder, rank = Path(cfg.OUTPUT_DIR), comm.get_rank()
    folder.mkdir(parents=True, exist_ok=True)
    _log_to(folder, rank)
    logger.info("catseg %s, detectron2 %s, torch %s", __version__, detectron2.__version__, torch.__version__)
    logger.info("python %s on %s: %s", platform.python_version(), platform.platform(), " ".join(sys.argv))
    logger.info("Process %d of %d on %s", rank, comm.get_world_size(), _describe_device(cfg.MODEL.DEVICE))
    if comm.is_main_process():
        for note in read_config(args.config_file, args.opts or []).notes:
            logger.info("%s", note)
        if not (args.eval_only or args.resume) and (folder / CONFIG_FILE).is_file():
            logger.warning("%s holds the log of an earlier run: if that still runs, stop one of them", folder)
        if args.resume and not args.eval_only and last_checkpoint(folder):
            report_changes(cfg)
        write_config(cfg, name="eval_config.yaml" if args.eval_only else CONFIG_FILE)
        if made := made_splits(cfg.DATASETS.TEST):
            write_json(folder / MADE_SPLITS, made)
        for name in cfg.DATASETS.TEST if args.eval_only else dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)):
            check_label_maps(name, coverage=not args.eval_only and name in cfg.DATASETS.TRAIN)
    seed_all_rng(cfg.SEED + rank if cfg.SEED >= 0 else None)
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK


def _register(cfg: CfgNode) -> None:
    register_datasets()
    own = cfg.DATASETS
    register_configured(own.OWN, format=own.OWN_FORMAT, unlabelled=own.OWN_UNLABELLED)


def _log_to(folder: Path, rank: int) -> None:
    """Log to a folder, and no longer to that of an earlier run in this process."""
    names = ("fvcore", "detectron2", "catseg")
    setup_logger.cache_clear()
    for name in names:
        logging.getLogger(name).handlers.clear()
        setup_logger(str(folder), distributed_rank=rank, name=name)
    quieten_console(names)


def _describe_device(device: str) -> str:
    if device == "cpu" and not torch.cuda.is_available():
        return "cpu, because torch sees no GPU"
    if not device.startswith("cuda"):
        return device
    return f"{device}: {torch.cuda.get_device_name(torch.cuda.current_device())}"


def _check_device(device: str, *, processes: int) -> None:
    if processes > 1 and device not in ("cuda", "cpu"):
        raise InputError(
            f"MODEL.DEVICE {device} takes one process, but {processes} were asked for: with MODEL.DEVICE cuda, each "
            "has a GPU of its own"
        )


def _check_processes(cfg: CfgNode, args: argparse.Namespace, *, gpus: int) -> None:
    if args.num_gpus < 1 or args.num_machines < 1:
        raise InputError(
            f"--num-gpus {args.num_gpus} and --num-machines {args.num_machines} must be at least 1; "
            "without a GPU, --num-gpus is the number of processes"
        )
    if not 0 <= args.machine_rank < args.num_machines:
        raise InputError(f"--machine-rank counts from 0 to --num-machines - 1, got {args.machine_rank}")
    if args.num_machines > 1 and args.dist_url == "auto":
        raise InputError("several machines need --dist-url tcp://FIRST_MACHINE:PORT, the same on all of them")
    if cfg.MODEL.DEVICE.startswith("cuda") and gpus > torch.cuda.device_count():
        raise InputError(f"--num-gpus is {args.num_gpus}, but torch sees {torch.cuda.device_count()} GPUs here")


def _check_weights(cfg: CfgNode, start: str) -> None:
    if start and hub_file(start) is None and "://" not in start:
        require_file(start, "MODEL.WEIGHTS")
    name, weights = cfg.MODEL.CLIP.NAME, cfg.MODEL.CLIP.WEIGHTS
    model_config(name)  # for its own checks
    if Path(weights).name == weights and not Path(weights).suffix:
        return  # "" or a tag of open_clip
    if not Path(weights).expanduser().is_file() and without_spare_weights(cfg, start) is cfg:
        how = ": python -m catseg.shapes.pretrain_clip makes them, make demo does so too" * (name == "catseg-shapes")
        raise FileNotFoundError(f"MODEL.CLIP.WEIGHTS names {weights}, which is not a file{how}")


def _check_values(cfg: CfgNode, *, training: bool, processes: int) -> None:
    """Check the values that are used later, by the functions that those have for it who use them."""
    check_evaluation(cfg)
    if training:
        check_trains(cfg)
        check_schedule(cfg)
        check_optimizer(cfg)
        step_options(cfg)
        check_checkpoints(cfg)
        check_alpha(cfg)
        check_batches(cfg, processes=processes)


def _check_data(cfg: CfgNode, *, training: bool) -> None:
    if training:
        check_training_sets(cfg)
    elif not cfg.DATASETS.TEST:
        raise InputError("DATASETS.TEST is empty: name the datasets to evaluate on")
    check_test_sets(cfg)
    if training:
        check_best_metric(cfg)


def _check_output_folder(folder: Path) -> None:
    checkpoints = find_checkpoints(folder)
    if checkpoints:
        raise FileExistsError(
            f"{folder} holds an earlier training run ({checkpoints[-1].name}): go on with it by --resume, "
            "or choose another output folder, or delete this one"
        )
