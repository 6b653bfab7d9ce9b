"""Train a model on data of your own, with settings that suit small data sets."""

import argparse
import sys
from pathlib import Path

from catseg.arguments import file_path, positive
from catseg.cli.settings import DEVICE, HELP, MODEL, Setting, add_settings, resolve

EPILOG = f"""\
examples:
  catseg train --data mydata.yaml --model v2-base
  catseg train --data folder/ --model shapes -o output/mine --steps 500
  catseg train --data folder/ --model shapes -o output/mine --steps 500 --resume
  catseg segment photos/ "what, ever" -o out/ --model output/mine

Training starts from the model's weights and is evaluated ten times on the validation split, which is made, and stated,
if the data have none. It ends early when three evaluations in a row bring nothing better. The output folder holds the
best weights, model_best.pth, the log, which goes to standard error too, and a report. Any key of the config can be set
by --opts. `train_net.py` is for everything larger, several GPUs among it.
{HELP}
"""

SETTINGS = (
    Setting(MODEL.name, MODEL.help, "v2-base", short=MODEL.short),
    DEVICE,
    Setting("batch", "images of a step", 4, positive, metavar="N"),
    Setting("steps", "length of the training (default: 30 passes over the images, 200 to 8000 steps)", None, positive),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--data", required=True, metavar="DATA", help="a file such as data.yaml, or a folder")
    parser.add_argument("--unlabelled", metavar="NAME", help="class of the pixels that nobody labelled, or 'ignored'")
    parser.add_argument(
        *("-o", "--output"), type=file_path, default=Path("output/train"), help="folder (default: %(default)s)"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in the output folder")
    add_settings(parser, SETTINGS)
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="config overrides; the last argument"
    )


def run(args: argparse.Namespace) -> int:
    """Train; return the exit status."""
    settings = resolve("train", args, SETTINGS)
    if args.verbose:
        sys.stderr.writelines(f"{line}\n" for line in settings)

    from catseg.cli.runs import model_words, option_words, run_training_command, training_options

    words = ["--resume"] * args.resume + model_words(args.model, args.device)
    options = training_options(args.data, unlabelled=args.unlabelled, batch=args.batch, steps=args.steps)
    options["OUTPUT_DIR"] = str(args.output)
    run_training_command([*words, *option_words(options), *args.opts], "catseg train")
    return 0
