"""What a model says of one image."""

import difflib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catseg.api import exports
from catseg.api.shapes import Shape, class_shapes
from catseg.atomic import atomic_path
from catseg.errors import InputError, RunError
from catseg.modeling.image_logits import ImageLogits
from catseg.visualization import (
    class_shares,
    heatmap,
    overlay,
    save_image,
    save_label_png,
    score_grid,
    short_names,
)
from catseg.vocabulary import Vocabulary, load_vocabulary


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in an image that could be segmented.

    Attributes:
        image: RGB 0..255, uint8, (H, W, 3).
        labels: index into the names for each pixel, int32, (H, W); -1 where there is nothing.
        scores: probability of the most probable class of each pixel, 0..1, float32, (H, W).
        logits: of all classes but the background, on the CPU; None if they were not kept.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.int32]
    scores: NDArray[np.float32]
    logits: ImageLogits | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """Which pixel is which in one image, or why that could not be said.

    Scores are probabilities of each class by itself, the sigmoid of its logit, averaged over the windows: they do not
    add up to 1. The network computes them in the light of all classes that it is asked for, those of the context
    included, so that they are to be compared within one vocabulary. Those of CLIP without training do add up to 1, over
    all classes that it is asked for.

    Attributes:
        names: the classes that were looked for: a tuple of their names, which knows their synonyms.
        source: the image's file, if it is one.
        error: why the image could not be segmented; None if it could.
    """

    names: Vocabulary
    source: Path | None = None
    error: str | None = None
    found: Found | None = field(default=None, repr=False)

    @property
    def image(self) -> NDArray[np.uint8]:
        """RGB 0..255, uint8, (H, W, 3).

        Raises:
            ValueError: as everything else that needs an image, if it could not be segmented.
        """
        return self._found.image

    @property
    def labels(self) -> NDArray[np.int32]:
        """Index into `names` for each pixel, (H, W); -1 where there is nothing."""
        return self._found.labels

    @property
    def scores(self) -> NDArray[np.float32]:
        """Probability of the most probable class, 0..1, (H, W): that of the pixel's label, if it has one."""
        return self._found.scores

    def probabilities(self, name: str) -> NDArray[np.float32]:
        """Return the probability of a class at each pixel, 0..1, (H, W).

        Args:
            name: of the class, or one of its synonyms. That of the background is 1 less the most probable class's.

        Raises:
            ValueError: if there is no such class.
            RuntimeError: if probabilities were not kept.
        """
        return self._class_probabilities(self._place(name))

    @cached_property
    def class_scores(self) -> NDArray[np.float32]:
        """Probability of every class, 0..1, (T, H, W): 4 * T * H * W bytes. Errors as `probabilities`."""
        found = self._logits.probabilities().numpy()
        return found if len(found) == len(self.names) else np.concatenate([found, 1 - self.scores[None]])

    def mask(self, name: str) -> NDArray[np.bool_]:
        """Return where a class is, (H, W). Arguments and errors as `probabilities`."""
        return self.labels == self._place(name)

    def share(self) -> dict[str, float]:
        """Return the classes in the image, most first, each with its share of the pixels, 0..1."""
        shares = class_shares(self.labels, len(self.names))
        return {self.names[i]: float(shares[i]) for i in np.argsort(-shares, kind="stable") if shares[i] > 0}

    def with_threshold(self, threshold: float, background: str | None = None) -> "Result":
        """Return what `segment` would with a threshold, of a result that it gave with threshold 0 and no background.

        Args:
            threshold: 0..1, as in `CATSegModel.segment`.
            background: as there.

        Raises:
            ValueError: if the background is one of the classes.
        """
        names = self.names if background is None else load_vocabulary([*self.names.synonyms, background])
        unsure = self.scores < threshold
        labels = np.where(unsure, -1 if background is None else len(self.names), self.labels).astype(np.int32)
        return replace(self, names=names, found=replace(self._found, labels=labels))

    def overlay(self, *, alpha: float = 0.5, legend: bool = True) -> NDArray[np.uint8]:
        """Draw the classes over the image: see `catseg.visualization.overlay`."""
        return overlay(self.image, self.labels, self.names, alpha=alpha, legend=legend)

    def plot(self, *, alpha: float = 0.5, legend: bool = True) -> Image.Image:
        """Return the overlay as a PIL image, which notebooks show and `.show()` opens."""
        return Image.fromarray(self.overlay(alpha=alpha, legend=legend))

    def confidence_image(self) -> NDArray[np.uint8]:
        """Draw the probability of the chosen class over the image: see `catseg.visualization.heatmap`."""
        return heatmap(self.image, self.scores)

    def class_scores_image(self, limit: int = 12) -> NDArray[np.uint8]:
        """Draw the probabilities of the classes that cover most of the image, `limit` at most; if none, the first."""
        titles = short_names(self.names)
        shown = [self.names.index(name) for name in list(self.share())[:limit]]
        if not shown:
            shown = list(range(len(self.names)))[:limit]
        maps = np.stack([self._class_probabilities(place) for place in shown])
        return score_grid(self.image, maps, [titles[place] for place in shown])

    def save(self, path: str | Path) -> None:
        """Write the overlay with its legend as an image, .png or .jpg: see `catseg.visualization.save_image`."""
        save_image(path, self.overlay())

    def save_labels(self, path: str | Path) -> None:
        """Write the label map as a PNG of class numbers: see `catseg.visualization.save_label_png`."""
        save_label_png(path, self.labels, len(self.names))

    def save_scores(self, path: str | Path) -> None:
        """Write every class's probabilities as a compressed NumPy file.

        Args:
            path: an .npz file. It holds `scores`, float16, (T, H, W), and `names`, (T,).
        """
        scores = self.class_scores.astype(np.float16)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, scores=scores, names=np.array(self.names))

    def shapes(self, *, min_pixels: int = 0) -> list[Shape]:
        """Return the classes in the image as labelling tools draw them: masks with scores, and their polygons.

        Args:
            min_pixels: smaller regions of a class are left out, and smaller holes filled. Of the methods below, too.
        """
        return list(class_shapes(self.labels, self.scores, self.names, min_pixels))

    def to_coco(self, *, min_pixels: int = 0) -> dict[str, Any]:
        """Return a COCO data set of this image, with compressed RLE: see `catseg.api.exports`."""
        name = exports.image_name(self.source)
        return exports.to_coco(self.shapes(min_pixels=min_pixels), self._size, self.names, name)

    def to_labelme(self, *, tolerance: float = 0.0, min_pixels: int = 0) -> dict[str, Any]:
        """Return labelme's JSON, with polygons that are at most `tolerance` pixels from the borders."""
        name = exports.image_name(self.source)
        return exports.to_labelme(self.shapes(min_pixels=min_pixels), self._size, name, tolerance=tolerance)

    def to_geojson(self, *, tolerance: float = 0.0, min_pixels: int = 0) -> dict[str, Any]:
        """Return GeoJSON, in pixels; arguments as `to_labelme`."""
        return exports.to_geojson(self.shapes(min_pixels=min_pixels), tolerance=tolerance)

    def to_label_studio(
        self,
        *,
        from_name: str = "tag",
        to_name: str = "image",
        labels: Sequence[str] | None = None,
        polygons: bool = False,
        tolerance: float = 0.0,
        min_pixels: int = 0,
    ) -> dict[str, Any]:
        """Return a prediction for Label Studio.

        Args:
            from_name: of the `BrushLabels` or `PolygonLabels` in the labelling configuration.
            to_name: of the `Image` in it.
            labels: what the configuration calls the classes; by default their names.
            polygons: for `PolygonLabels`; otherwise masks in Label Studio's RLE.
            tolerance: of polygons, as `to_labelme`.
            min_pixels: as `shapes`.

        Raises:
            ValueError: if there are not as many labels as classes.
        """
        labels = self.names if labels is None else labels
        if len(labels) != len(self.names):
            raise InputError(f"expected a label for each of {len(self.names)} classes, got {len(labels)}")
        return exports.to_label_studio(
            self.shapes(min_pixels=min_pixels),
            self._size,
            from_name=from_name,
            to_name=to_name,
            labels=labels,
            polygons=polygons,
            tolerance=tolerance,
        )

    def to_supervision(self, *, min_pixels: int = 0) -> Any:
        """Return `supervision.Detections` with a mask for each class.

        Raises:
            RuntimeError: if supervision is not installed.
        """
        return exports.to_supervision(self.shapes(min_pixels=min_pixels))

    def _repr_png_(self) -> bytes | None:
        if self.found is None:
            return None
        buffer = io.BytesIO()
        self.plot().save(buffer, "PNG")
        return buffer.getvalue()

    @property
    def _size(self) -> tuple[int, int]:
        height, width = self.labels.shape
        return height, width

    @property
    def _found(self) -> Found:
        if self.found is None:
            raise InputError(self.error or "the image was not segmented")
        return self.found

    @property
    def _logits(self) -> ImageLogits:
        if self._found.logits is None:
            raise RunError("the probabilities of this result were not kept: call segment with keep_probabilities=True")
        return self._found.logits

    def _class_probabilities(self, place: int) -> NDArray[np.float32]:
        if place == self._logits.logits.shape[1]:
            return 1 - self.scores
        return self._logits.class_probabilities(place).numpy()

    def _place(self, name: str) -> int:
        if name in self.names:
            return self.names.index(name)
        places = [place for place, words in enumerate(self.names.synonyms) if name in words]
        if len(places) == 1:
            return places[0]
        if places:
            raise InputError(f"{name!r} is a synonym of {len(places)} classes: give a whole name, as in .names")
        close = difflib.get_close_matches(name, [*self.names, *(w for words in self.names.synonyms for w in words)])
        hint = f"did you mean {' or '.join(map(repr, dict.fromkeys(close)))}?" if close else ".names lists them"
        raise InputError(f"no class is called {name!r}; {hint}")
