"""A CVAT auto-annotation function that segments images into the labels of a task: docs/labelling_tools.md.

cvat-cli task auto-annotate 7 --function-file integrations/cvat/function.py -p "labels=str:sofa, cat | kitten"
python integrations/cvat/function.py --server https://cvat.example.com --user me 7
"""

import argparse
import getpass
import os
from collections.abc import Sequence
from typing import Any

import cvat_sdk.auto_annotation as cvataa
from cvat_sdk import make_client
from cvat_sdk.masks import encode_mask
from cvat_sdk.models import LabeledShapeRequest
from PIL import Image

import catseg


class CATSegFunction:
    """Finds the labels that it is given; `cvat_sdk.auto_annotation.annotate_task` takes it.

    Attributes:
        spec: the labels, as CVAT wants to know them.
    """

    def __init__(self, model: catseg.CATSegModel, labels: Sequence[str], *, tolerance: float, min_pixels: int) -> None:
        """Encode the labels.

        Args:
            model: what finds them.
            labels: with synonyms behind "|"; CVAT knows the first ones.
            tolerance: of polygons, in pixels; masks are exact.
            min_pixels: smaller regions are left out, and smaller holes filled.

        Raises:
            ValueError: if there are no labels, or they cannot be used.
        """
        self.labels = list(labels)
        model.encode_classes(self.labels)
        self.model, self.tolerance, self.min_pixels = model, tolerance, min_pixels
        names = [label.split("|")[0].strip() for label in self.labels]
        self.spec = cvataa.DetectionFunctionSpec(
            labels=[cvataa.label_spec(name, index, type="mask") for index, name in enumerate(names)]
        )

    def detect(self, context: cvataa.DetectionFunctionContext, image: Image.Image) -> list[LabeledShapeRequest]:
        """Return a mask for each label in an image, or polygons, cut at their holes, if CVAT asks for these.

        The threshold of the context is the probability that each pixel needs.

        Raises:
            ValueError: if the image cannot be used.
        """
        threshold = {} if context.conf_threshold is None else {"threshold": context.conf_threshold}
        result = self.model.segment(image, self.labels, keep_probabilities=False, **threshold)
        shapes = result.shapes(min_pixels=self.min_pixels)
        if not context.conv_mask_to_poly:
            return [cvataa.mask(shape.index, encode_mask(shape.mask), score=shape.score) for shape in shapes]
        return [
            cvataa.polygon(shape.index, [float(v) for corner in polygon.outline for v in corner], score=shape.score)
            for shape in shapes
            for polygon in shape.polygons(holes=False, tolerance=self.tolerance)
        ]


def create(
    model: str = "v2-large",
    labels: str = "",
    device: str = "",
    tolerance: float = 2.0,
    min_pixels: int = 64,
) -> CATSegFunction:
    """Make the function for `cvat-cli`, whose -p options these are.

    Args:
        model: whatever `catseg.load` takes.
        labels: of the task, between commas, with synonyms between "|".
        device: as torch names it; by default a GPU where there is one.
        tolerance: see `CATSegFunction`.
        min_pixels: see there.

    Raises:
        FileNotFoundError, ValueError: as `catseg.load`; or if there are no labels.
    """
    names = [name.strip() for name in labels.split(",") if name.strip()]
    return CATSegFunction(catseg.load(model, device=device or None), names, tolerance=tolerance, min_pixels=min_pixels)


def annotate(client: Any, task: int, model: catseg.CATSegModel, *, polygons: bool, threshold: float | None) -> None:
    """Annotate a task with its own labels.

    Args:
        client: `cvat_sdk.Client`, logged in.
        task: its number.
        model: what finds the labels.
        polygons: whether to make polygons instead of masks.
        threshold: probability that a pixel needs; None for catseg's.

    Raises:
        ValueError: if the labels of the task cannot be used.
    """
    labels = [label.name for label in client.tasks.retrieve(task).get_labels()]
    function = CATSegFunction(model, labels, tolerance=2.0, min_pixels=64)
    cvataa.annotate_task(client, task, function, conf_threshold=threshold, conv_mask_to_poly=polygons)


def main() -> None:
    """Run the command; the password is $PASS, as of `cvat-cli`, or asked for."""
    parser = argparse.ArgumentParser(description="Annotate a CVAT task with its own labels.")
    parser.add_argument("task", type=int)
    parser.add_argument("--server", default="http://localhost:8080")
    parser.add_argument("--user", required=True)
    parser.add_argument("--model", default="v2-large")
    parser.add_argument("--polygons", action="store_true", help="instead of masks")
    parser.add_argument("--threshold", type=float, help="probability that a pixel needs")
    args = parser.parse_args()
    password = os.environ.get("PASS") or getpass.getpass()
    with make_client(args.server, credentials=(args.user, password)) as client:
        annotate(client, args.task, catseg.load(args.model), polygons=args.polygons, threshold=args.threshold)


if __name__ == "__main__":
    main()
