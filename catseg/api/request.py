"""What a call of `CATSegModel.segment` asks for."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from detectron2.utils.logger import log_first_n

from catseg.errors import InputError
from catseg.vocabulary import Vocabulary, VocabularySource, load_vocabulary

THRESHOLD = 0.5  # see `CATSegModel.segment`


class SegmentOptions(TypedDict, total=False):
    """Keywords of `CATSegModel.segment`, which explains them."""

    threshold: float
    background: str | None
    context: VocabularySource | None
    templates: str | Sequence[str] | None
    batch: int
    threads: int
    keep_probabilities: bool
    on_error: Literal["result", "raise"]


@dataclass(frozen=True)
class Request:
    """What a call asks for.

    Attributes:
        names: of the result.
        classes: how many of them the network looks for: all, but for the background.
        vocabulary: what it is asked for: these classes and the context.
    """

    names: Vocabulary
    classes: int
    vocabulary: Vocabulary
    templates: tuple[str, ...]
    threshold: float
    keep_probabilities: bool
    on_error: str


def make_request(
    names: Vocabulary,
    *,
    threshold: float,
    background: str | None,
    context: VocabularySource | None,
    templates: tuple[str, ...],
    keep_probabilities: bool,
    on_error: str,
) -> Request:
    """Check what a call asks for.

    Args:
        names: the classes to look for.
        threshold: as in `CATSegModel.segment`, as are all that follow.
        background: see there.
        context: see there.
        templates: the prompt templates themselves.
        keep_probabilities: see there.
        on_error: see there.

    Raises:
        ValueError: if a value cannot be used.
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold is a probability from 0 to 1, got {threshold}")
    if on_error not in ("result", "raise"):
        raise InputError(f'on_error is "result" or "raise", got {on_error!r}')
    vocabulary = _beside(names, context)
    if len(vocabulary) == 1 and not threshold:
        log_first_n(
            logging.WARNING,
            f"{names.origin} holds one class, {names[0]!r}: without a threshold, every pixel gets it",
            name=__name__,
            key="message",
        )
    return Request(
        names=names if background is None else load_vocabulary([*names.synonyms, background]),
        classes=len(names),
        vocabulary=vocabulary,
        templates=templates,
        threshold=threshold,
        keep_probabilities=keep_probabilities,
        on_error=on_error,
    )


def _beside(names: Vocabulary, context: VocabularySource | None) -> Vocabulary:
    """Return classes followed by those of a context that share no synonym with them."""
    if context is None:
        return names
    taken = {word.casefold() for words in names.synonyms for word in words}
    others = [words for words in load_vocabulary(context).synonyms if taken.isdisjoint(map(str.casefold, words))]
    return Vocabulary([*names.synonyms, *others], names.origin)
