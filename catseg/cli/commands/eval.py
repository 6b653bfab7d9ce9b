"""Evaluate a model on benchmarks or on data of your own."""

import argparse
import sys

from catseg.cli.settings import DEVICE, GPUS, HELP, MODEL, Setting, add_run_arguments, add_settings, apply_settings

EPILOG = f"""\
examples:
  catseg eval --model v2-base --data ade20k_150_test_sem_seg
  catseg eval --model output/train --data mydata.yaml -o output/eval
  catseg eval --model v2-large --data voc_2012_test_sem_seg --opts TEST.SLIDING_WINDOW False

The table of results is printed, the log goes to standard error, and the output folder holds both and a report. Results
are those of `train_net.py --eval-only`. `catseg data status` shows which benchmarks are here.
{HELP}
"""

SETTINGS = (Setting(MODEL.name, MODEL.help, "v2-base", short=MODEL.short), DEVICE, GPUS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--data", required=True, nargs="+", metavar="DATA", help="names of benchmarks, or files and folders of your own"
    )
    add_run_arguments(parser, output="output/eval")
    add_settings(parser, SETTINGS)


def run(args: argparse.Namespace) -> int:
    """Evaluate; return the exit status."""
    apply_settings("eval", args, SETTINGS)

    from catseg.cli.runs import evaluated_splits, model_words, option_words, run_training_command

    words = ["--eval-only", *model_words(args.model, args.device, args.gpus)]
    names, options = evaluated_splits(args.data, format=args.data_format, unlabelled=args.unlabelled)
    options |= {"DATASETS.TEST": repr(tuple(names)), "DATASETS.TEST_CLASSES": "", "OUTPUT_DIR": str(args.output)}
    run_training_command([*words, *option_words(options), *args.opts], "catseg eval")
    sys.stdout.write((args.output / "results.md").read_text(encoding="utf-8"))
    return 0
