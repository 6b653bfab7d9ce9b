"""Train the small CLIP of the `shapes` data: contrastively, on images and captions that are drawn as it goes.

    python -m catseg.shapes.pretrain_clip --output output/shapes/clip/default-seed0

writes `clip.safetensors`, which open_clip loads into the model `catseg-shapes`, and `clip.json`, how it came about. The
command fails if the dense features name too few of the pixels right: CAT-Seg does not learn from such a CLIP. With
`--strict` neither images nor captions hold the compositions that the data set holds out of CAT-Seg's training.
Running the command again does nothing.
"""

import argparse
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from safetensors.torch import save
from tqdm import tqdm

from catseg.arguments import file_path
from catseg.atomic import atomic_path, write_json
from catseg.console import add_debug_option, errors_in_one_line
from catseg.errors import RunError
from catseg.modeling.clip.loading import build_clip, build_tokenizer
from catseg.modeling.clip.prompt_templates import prompt_templates
from catseg.modeling.clip.text_encoder import TextEncoder
from catseg.shapes.classes import HELD_OUT_OBJECTS, OBJECTS
from catseg.shapes.contrastive import Locality, PixelNorm, Schedule, measure_locality, train_clip

MODEL = "catseg-shapes"
WEIGHTS, REPORT = "clip.safetensors", "clip.json"
TEMPLATES = "shapes"
NORM = PixelNorm((122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.3231630))  # CLIP's own
VERSION = 1  # of all that is not in the settings: the model, what is drawn, how it is trained

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pretraining:
    """Settings of a CLIP pretraining.

    Attributes:
        seed: of weights and pairs.
        strict: whether held-out compositions are left out of images and captions.
        min_accuracy: share of pixels, 0..1, that the dense features must name right, among those of patches that the
            captions told of.
        schedule: how it is trained.
    """

    seed: int = 0
    strict: bool = False
    min_accuracy: float = 0.6
    schedule: Schedule = field(default_factory=Schedule)

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of the patches that images and captions hold."""
        return tuple(name for name in OBJECTS if not (self.strict and name in HELD_OUT_OBJECTS))


def pretrain_clip(
    output: Path, pretraining: Pretraining, *, title: str = "Pretraining CLIP", position: int = 0
) -> Path:
    """Train a CLIP, unless `output` has it already.

    Args:
        output: folder to write to.
        pretraining: how to make it.
        title: of the progress bar.
        position: line of the progress bar on the screen, when several run at once.

    Returns:
        The checkpoint.

    Raises:
        FileExistsError: if `output` has one that was made otherwise.
        RuntimeError: if the dense features name too few pixels right; nothing is written then.
    """
    weights = output / WEIGHTS
    settings = {"version": VERSION, "model": MODEL, **asdict(pretraining)}
    if weights.is_file():
        _check_same(output, settings)
        logger.info("%s exists, made with the same settings: nothing to do", weights)
        return weights
    start = time.perf_counter()
    clip, locality = _train(pretraining, title, position)
    if locality.told < pretraining.min_accuracy:
        raise RunError(
            f"the dense features of this CLIP name {locality.told:.2f} of the patches' pixels right, "
            f"at least {pretraining.min_accuracy:.2f} are wanted, for CAT-Seg does not learn from less: "
            f"train for more than {pretraining.schedule.steps} steps, or take another seed than {pretraining.seed}"
        )
    report = {"settings": settings, "accuracy": asdict(locality), "seconds": round(time.perf_counter() - start, 1)}
    write_json(output / REPORT, report)
    with atomic_path(weights) as path:
        path.write_bytes(save({name: tensor.cpu().contiguous() for name, tensor in clip.state_dict().items()}))
    logger.info("wrote %s: dense features name %.2f of the patches' pixels right", weights, locality.told)
    return weights


def read_report(output: Path) -> dict[str, Any]:
    """Read how the CLIP in a folder came about: "settings", "accuracy" (of `Locality`) and "seconds"."""
    return json.loads((output / REPORT).read_text(encoding="utf-8"))


def _train(pretraining: Pretraining, title: str, position: int) -> tuple[CLIP, Locality]:
    torch.manual_seed(pretraining.seed)
    clip, tokenizer = build_clip(MODEL), build_tokenizer(MODEL)
    clip.to("cuda" if torch.cuda.is_available() else "cpu").train()
    losses = train_clip(
        clip,
        tokenizer,
        pretraining.schedule,
        normalise=NORM,
        generator=torch.Generator().manual_seed(pretraining.seed),
        objects=pretraining.objects,
    )
    bar = tqdm(losses, total=pretraining.schedule.steps, desc=title, unit="step", position=position)
    smooth = 0.0
    for step, loss in enumerate(bar):
        smooth += (loss - smooth) / min(step + 1, 50)
        bar.set_postfix(loss=f"{smooth:.2f}", refresh=False)
    clip.eval().requires_grad_(False)
    text_encoder = TextEncoder(clip=clip, tokenizer=tokenizer, templates=prompt_templates(TEMPLATES))
    return clip, measure_locality(clip, text_encoder, normalise=NORM, told=pretraining.objects)


def _check_same(output: Path, settings: dict[str, Any]) -> None:
    try:
        found = read_report(output)["settings"]
    except (OSError, ValueError, KeyError) as error:
        raise FileExistsError(
            f"{output} has a {WEIGHTS} but no readable {REPORT} ({error}): choose another --output"
        ) from error
    if found != json.loads(json.dumps(settings)):
        raise FileExistsError(
            f"{output} was made with the settings {found}, now asked for is {settings}: "
            "delete it, or choose another --output"
        )


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    default = Pretraining()
    parser = argparse.ArgumentParser(prog="python -m catseg.shapes.pretrain_clip", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--output", type=file_path, default=Path("output/shapes/clip/default-seed0"), help="(default: %(default)s)"
    )
    parser.add_argument("--steps", type=int, default=default.schedule.steps, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=default.seed, help="(default: %(default)s)")
    parser.add_argument("--strict", action="store_true", help="leave held-out compositions out of images and captions")
    parser.add_argument(
        "--min-accuracy",
        type=float,
        default=default.min_accuracy,
        help="share of pixels that the dense features must name right (default: %(default)s)",
    )
    add_debug_option(parser)
    return parser.parse_args(arguments)


@errors_in_one_line("catseg.shapes.pretrain_clip", interrupted="interrupted, nothing was written")
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = parse_arguments(arguments)
    pretraining = Pretraining(
        seed=args.seed, strict=args.strict, min_accuracy=args.min_accuracy, schedule=Schedule(steps=args.steps)
    )
    pretrain_clip(args.output, pretraining)


if __name__ == "__main__":
    main()
