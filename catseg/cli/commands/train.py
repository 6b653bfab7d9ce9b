"""Train a model on data of your own, with settings that suit small data sets."""

import argparse

from catseg.arguments import positive, share
from catseg.cli.settings import DEVICE, GPUS, HELP, MODEL, Setting, add_run_arguments, add_settings, apply_settings

EPILOG = f"""\
examples:
  catseg train --data mydata.yaml --model v2-base
  catseg train --data folder/ --model shapes -o output/mine --steps 500
  catseg train --data folder/ --model shapes -o output/mine --steps 500 --resume
  catseg segment photos/ "what, ever" -o out/ --model output/mine

Training starts from the model's weights and is evaluated ten times on the validation split, which is made, and stated,
if the data have none. It ends early when three evaluations in a row bring nothing better. What is evaluated and kept is
half way between the model's weights and the trained ones, so that it finds other classes nearly as well as before;
--keep 0 suits the classes of the data alone. The output folder holds the best weights, model_best.pth, the log, which
goes to standard error too, and a report. Any key of the config can be set by --opts. Several machines start it by
torchrun or srun, as they do `train_net.py`.
{HELP}
"""

SETTINGS = (
    Setting(MODEL.name, MODEL.help, "v2-base", short=MODEL.short),
    DEVICE,
    GPUS,
    Setting("batch", "images of a step", 4, positive, metavar="N"),
    Setting("keep", "share of the model's own weights in the result: more keeps other classes better", 0.5, share),
    Setting("steps", "length of the training (default: 30 passes over the images, 200 to 8000 steps)", None, positive),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--data", required=True, metavar="DATA", help="a file such as data.yaml, or a folder")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the output folder")
    add_run_arguments(parser, output="output/train")
    add_settings(parser, SETTINGS)


def run(args: argparse.Namespace) -> int:
    """Train; return the exit status."""
    apply_settings("train", args, SETTINGS)

    from catseg.cli.runs import model_words, option_words, run_training_command, training_options

    words = ["--resume"] * args.resume + model_words(args.model, args.device, args.gpus)
    options = training_options(
        args.data,
        model=args.model,
        format=args.data_format,
        unlabelled=args.unlabelled,
        batch=args.batch,
        steps=args.steps,
        keep=args.keep,
    )
    options["OUTPUT_DIR"] = str(args.output)
    run_training_command([*words, *option_words(options), *args.opts], "catseg train")
    return 0
