"""List the models that have a name: those that the authors published, and shapes, which `catseg demo` trains."""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict

EPILOG = """\
examples:
  catseg models
  catseg models --json
  catseg segment photos/ "sofa, cat" -o out/ --model v2-large

Published weights are downloaded when they are first used, checked and kept. CLIP alone, without any training, is
training-free:CLIP/WEIGHTS, such as training-free:ViT-B-16-quickgelu/openai.
"""

_BENCHMARK = "A-150"  # ADE20K-150, as the registry calls it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print all that is known of them as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the models; return 0."""
    from tabulate import tabulate

    import catseg

    models = catseg.models()
    if args.json:
        sys.stdout.write(json.dumps([asdict(model) for model in models], indent=2, allow_nan=False) + "\n")
        return 0
    rows = [
        {
            "model": model.name,
            "CLIP": model.clip,
            "guidance": model.guidance,
            "parameters, M": model.parameters,
            "mIoU on ADE20K-150": _shown(model.miou),
            "licence": model.licence,
            "needs": model.needs,
        }
        for model in models
    ]
    sys.stdout.write(tabulate(rows, headers="keys", tablefmt="simple") + "\n")
    return 0


def _shown(miou: Mapping[str, float]) -> str:
    return f"{miou[_BENCHMARK]:.1f}" if _BENCHMARK in miou else "-"
