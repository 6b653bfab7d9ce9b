"""What is shown of a session's result, with the settings of the moment; the network is not asked again."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from catseg.api.result import Result
from catseg.app import drawing
from catseg.app.drawing import Region, Rgb, Share
from catseg.app.sessions import Session
from catseg.errors import InputError


@dataclass(frozen=True)
class Look:
    """How a result is shown.

    Attributes:
        threshold: pixels whose class is less probable are nothing, 0..1.
        opacity: of colours over the image, 0..1.
        background: name of one more class, for what is nothing; "" for none.
    """

    threshold: float
    opacity: float
    background: str = ""

    def __post_init__(self) -> None:
        for name, value in (("threshold", self.threshold), ("opacity", self.opacity)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise InputError(f"the {name} is a number from 0 to 1, got {value!r}")


@dataclass(frozen=True)
class View:
    """A session's result as it is looked at.

    Attributes:
        result: as the network gave it.
        look: how it is shown.
        hidden: classes that are switched off.
    """

    result: Result
    look: Look
    hidden: frozenset[str]

    @cached_property
    def all_classes(self) -> Result:
        """The result with threshold and background."""
        return self.result.with_threshold(self.look.threshold, self._background)

    @cached_property
    def shown(self) -> Result:
        """The same without what is switched off: what is drawn and downloaded."""
        return drawing.without(self.all_classes, self.hidden)

    @property
    def _background(self) -> str | None:
        return self.look.background.strip() or None

    @cached_property
    def _small(self) -> Result:
        return drawing.for_screen(self.shown)

    def comparison(self) -> tuple[Rgb, Rgb]:
        """Image and overlay."""
        return drawing.comparison(self._small, self.look.opacity)

    def regions(self) -> tuple[Rgb, list[Region]]:
        """Image and regions."""
        return drawing.regions(self._small)

    def confidence(self) -> Rgb:
        """The probability of the chosen class."""
        return drawing.score_map(self._small, self.result.scores)

    def probability(self, name: str) -> Rgb:
        """The probability of one class.

        Raises:
            ValueError: if it was not looked for.
        """
        scores: NDArray[np.float32] = self.result.probabilities(name)
        return drawing.score_map(self._small, scores)

    def table(self) -> list[Share]:
        """The classes in the image."""
        return drawing.table(self.all_classes, self.hidden, background=self._background is not None)


def view(session: Session, look: Look) -> View:
    """Look at a session's result.

    Raises:
        ValueError: if it has none, because none was asked for or it was forgotten.
    """
    if session.result is None:
        raise InputError("there is no result yet, or it was forgotten meanwhile: press Segment")
    return View(session.result, look, frozenset(session.hidden))
