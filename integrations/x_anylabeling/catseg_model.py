"""A model of X-AnyLabeling-Server that segments images into the names that are typed: docs/labelling_tools.md."""

import re
from typing import Any

import numpy as np
from app.core.registry import register_model
from app.models import BaseModel
from app.schemas.shape import Shape

import catseg


@register_model("catseg")
class CATSeg(BaseModel):
    """Reads from `params` of its YAML file: model, device, classes, conf_threshold, tolerance and min_pixels."""

    def load(self) -> None:
        """Load the model, once, when the server starts.

        Raises:
            FileNotFoundError, ValueError: as `catseg.load`; or if the classes of the file cannot be used.
        """
        self.model = catseg.load(self.params.get("model", "v2-large"), device=self.params.get("device"))
        if self.params.get("classes"):
            self.model.encode_classes(self.params["classes"])

    def predict(self, image: np.ndarray, params: dict[str, Any]) -> dict[str, Any]:
        """Return the regions of an image as polygons.

        Args:
            image: BGR, uint8, (H, W, 3).
            params: of the request: `text_prompt`, names between commas or full stops with synonyms between "|", and
                `conf_threshold`. Without a text, the classes are those of the YAML file, or the model's own.

        Raises:
            ValueError: if there are no names, or they cannot be used.
        """
        settings = {"conf_threshold": 0.5, "tolerance": 2.0, "min_pixels": 64, **self.params, **params}
        result = self.model.segment(
            np.ascontiguousarray(image[:, :, ::-1]),
            split_names(params.get("text_prompt") or "") or self.params.get("classes"),
            threshold=settings["conf_threshold"],
            keep_probabilities=False,
        )
        shapes = [
            Shape(
                label=result.names.short_names[shape.index],
                shape_type="polygon",
                points=[[float(x), float(y)] for x, y in [*polygon.outline, polygon.outline[0]]],
                score=shape.score,
            )
            for shape in result.shapes(min_pixels=settings["min_pixels"])
            for polygon in shape.polygons(holes=False, tolerance=settings["tolerance"])
        ]
        return {"shapes": shapes, "description": ""}

    def unload(self) -> None:
        """Let the model go, when the server ends."""
        del self.model


def split_names(text: str) -> list[str]:
    """Split what was typed at commas, or at full stops as other models of the server do.

    The text itself would be the wrong thing to hand on: catseg takes a line for a file if there is one of that name,
    and files of the server are none of a client's business.
    """
    return [name.strip() for name in re.split(r"[,.;\n]", text) if name.strip()]
