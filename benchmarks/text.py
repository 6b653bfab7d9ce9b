"""Time and memory of encoding class names with every prompt template, cold and cached.

    python benchmarks/text.py --classes 150 --threads 1 --plain --json

Cold means that nothing is cached; cached means a new process that finds the features on disk. The plain form runs all
positions of every prompt, as CLIP's own text encoder does; since every prompt then costs the same, a sample of them is
timed and the time multiplied. Times are also told in units, as in `benchmarks/inference.py`.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness import CalibratedTiming, calibrate, in_fresh_process, machine, peak_memory, time_in_units
from benchmarks.models import load_model
from benchmarks.plain.catseg import plain_text_encoder
from benchmarks.reports import Report, add_model_options, make_parser, publish
from catseg.arguments import positive
from catseg.errors import UserError
from catseg.modeling.clip.loading import build_tokenizer
from catseg.modeling.clip.prompt_templates import prompt_templates
from catseg.modeling.clip.text_cache import TextCache
from catseg.modeling.clip.text_encoder import TextEncoder
from catseg.vocabulary import Vocabulary, load_vocabulary

DTYPES = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Task:
    """Settings: a config, overrides, a vocabulary, how many of its classes, and CPU threads."""

    config: str
    options: tuple[str, ...]
    vocabulary: str
    classes: int
    threads: int

    @property
    def names(self) -> Vocabulary:
        """The classes."""
        return Vocabulary(load_vocabulary(self.vocabulary).synonyms[: self.classes])


class Encoders:
    """Text encoders of one model, each new."""

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(task.threads)
        cfg, self.model = load_model(task.config, task.options, given_text=False)
        self.model.requires_grad_(False)  # else nothing is cached
        self.templates = prompt_templates(cfg.MODEL.CLIP.TEMPLATES)
        self.tokenizer = build_tokenizer(cfg.MODEL.CLIP.NAME)

    def new(self, dtype: torch.dtype | None = None, folder: Path | None = None) -> TextEncoder:
        """An encoder that has encoded nothing yet."""
        return TextEncoder(
            clip=self.model.clip,
            tokenizer=self.tokenizer,
            templates=self.templates,
            cache=TextCache(folder=folder),
            dtype=dtype,
        )


class PlainSample:
    """Evenly spread prompts of a vocabulary, encoded at full length."""

    def __init__(self, encoders: Encoders, names: Vocabulary, count: int) -> None:
        self.encoder = plain_text_encoder(encoders.model)
        # The plain form of a class with synonyms is one prompt for each; the first stands for all of them here.
        prompts = [template.format(words[0]) for words in names.synonyms for template in encoders.templates]
        self.all_prompts = len(prompts)
        self.rows = torch.linspace(0, len(prompts) - 1, min(count, len(prompts))).long()
        context = encoders.model.clip.context_length
        self.tokens = encoders.tokenizer([prompts[row] for row in self.rows], context_length=context)

    def __call__(self) -> Tensor:
        """Features of the sample `(N, C)`."""
        with torch.inference_mode():
            return torch.cat([self.encoder(batch) for batch in self.tokens.split(64)])


def measure_peak(task: Task, dtype: str) -> float | None:
    """GiB above the loaded model that encoding takes at most; to be called in a fresh process."""
    encoder = Encoders(task).new(DTYPES[dtype])
    peak = peak_memory(lambda: encoder.encode(task.names))
    return None if peak is None else peak / 1024


def run(task: Task, *, dtypes: Sequence[str], plain_prompts: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Measure every case: cold in each type, cached, and plain if `plain_prompts` is not 0."""
    encoders = Encoders(task)
    figures: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        calls = {f"cold, {dtype}": _cold(encoders, task, dtype) for dtype in dtypes}
        stored = encoders.new(folder=Path(folder)).encode(task.names)
        calls["cached"] = lambda: encoders.new(folder=Path(folder)).encode(task.names)
        for name, timing in time_in_units(calls, rounds=rounds).items():
            figures[name] = _figures(timing)
    for dtype in dtypes:
        figures[f"cold, {dtype}"]["peak_gib_above_model"] = in_fresh_process(measure_peak, task, dtype)
        low = encoders.new(DTYPES[dtype]).encode(task.names) if dtype != "float32" else stored
        figures[f"cold, {dtype}"]["least_cosine_to_float32"] = float(F.cosine_similarity(low, stored, dim=-1).min())
    if plain_prompts:
        sample = PlainSample(encoders, task.names, plain_prompts)
        timing = time_in_units({"plain": sample}, rounds=rounds)["plain"]
        figures["plain"] = _figures(timing, sample.all_prompts / len(sample.rows))
        figures["plain"]["prompts_timed"] = len(sample.rows)
        if task.names == task.names.first_synonyms():
            found = stored.flatten(0, 1)[sample.rows]
            figures["cold, float32"]["difference_from_plain"] = float((found - sample()).abs().max())
    return figures


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for."""
    parser = _parser()
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    first = calibrate()
    try:
        task = Task(args.config, tuple(args.opts), args.vocabulary, args.classes, args.threads)
        figures = run(task, dtypes=args.dtype, plain_prompts=args.plain_prompts * args.plain, rounds=args.rounds)
    except (OSError, UserError) as error:
        parser.error(str(error))
    settings = {
        "config": args.config,
        "options": " ".join(args.opts) or "none",
        "vocabulary": args.vocabulary,
        "classes": len(task.names),
        "rounds": args.rounds,
    }
    report = Report(
        title="Text features",
        settings=settings,
        machine=machine(),
        calibration=(first, calibrate()),
        rows=[
            {"case": name, **{key: _shown(value) for key, value in found.items()}} for name, found in figures.items()
        ],
        raw=figures,
        measures={
            name: {key: found[key] for key in ("units", "peak_gib_above_model") if found.get(key) is not None}
            for name, found in figures.items()
        },
        headline=next(iter(figures.values())),
    )
    publish(report, args, parser)


def _cold(encoders: Encoders, task: Task, dtype: str) -> Callable[[], Tensor]:
    return lambda: encoders.new(DTYPES[dtype]).encode(task.names)


def _figures(timing: CalibratedTiming, factor: float = 1.0) -> dict[str, Any]:
    low, high = timing.units.spread
    return {
        "units": factor * timing.units.median,
        "units_quartiles": [factor * low, factor * high],
        "seconds": factor * timing.median,
    }


def _shown(value: float | list[float] | None) -> str:
    values = value if isinstance(value, list) else [value]
    return ", ".join("-" if number is None else f"{number:.4g}" for number in values)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("text", __doc__, rounds=1)
    add_model_options(parser)
    parser.add_argument("--vocabulary", default="ade20k_150", help="class names (default: %(default)s)")
    parser.add_argument("--classes", type=positive, default=150, metavar="T", help="how many (default: %(default)s)")
    parser.add_argument("--dtype", choices=list(DTYPES), nargs="+", default=["float32"], help="default: float32")
    parser.add_argument("--plain", action="store_true", help="measure the plain transcription too")
    parser.add_argument(
        "--plain-prompts", type=positive, default=128, metavar="N", help="sample (default: %(default)s)"
    )
    return parser


if __name__ == "__main__":
    main()
