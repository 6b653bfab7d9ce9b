"""Which classes a data set has, and what becomes of the pixels that nobody labelled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from catseg.vocabulary import Vocabulary, load_vocabulary

IGNORED = "ignored"
_VOID = {
    "void",
    "unlabeled",
    "unlabelled",
    "ignore",
    "ignored",
    "ignore label",
    "unannotated",
    "dont care",
    "don't care",
}
_BACKGROUND = {"background", "bg"}

Name = str | Sequence[str]  # with synonyms


@dataclass(frozen=True)
class Classes:
    """The classes of a data set.

    Attributes:
        vocabulary: class k is the k-th.
        ignore_label: value of the pixels without class.
        index: class or ignored label of each name that the data set gives, by the number that it gives it.
        rest: class or ignored label of the pixels that nobody labelled.
        statement: one sentence on the latter.
    """

    vocabulary: Vocabulary
    ignore_label: int
    index: Mapping[int, int]
    rest: int
    statement: str


def decide_classes(
    names: Mapping[int, Name], unlabelled: str | None, *, origin: str, rest: str | None = None
) -> Classes:
    """Decide on classes and unlabelled pixels, as `catseg.data.formats` describes it.

    Args:
        names: of the classes by the numbers that the data set gives them, in the order of the classes to be.
        unlabelled: None, "ignored", or the class that unlabelled pixels are to be.
        origin: where the names come from, as messages say it.
        rest: the class of pixels outside all shapes, if `unlabelled` is None and none is called "background"; None
            ignores them.

    Raises:
        ValueError: if the names are no vocabulary.
    """
    void = {number for number, name in names.items() if _plain(name) in _VOID}
    background = {number for number, name in names.items() if is_background(name)}
    ignored: set[int] = set()
    if unlabelled is None:
        ignored = void
        merged = background
        target = names[min(background)] if background else rest
    elif unlabelled.casefold() == IGNORED:
        ignored, merged, target = void | background, set(), None
    else:
        merged = void | background | {number for number, name in names.items() if _plain(name) == _plain(unlabelled)}
        target = next((name for name in names.values() if _plain(name) == _plain(unlabelled)), unlabelled)

    kept: list[Name] = []
    place: dict[int, int] = {}
    target_place = -1
    for number, name in names.items():
        if number in ignored:
            continue
        if number not in merged or target_place < 0:
            target_place = len(kept) if number in merged else target_place
            kept.append(target if number in merged and target is not None else name)
            place[number] = len(kept) - 1
        else:
            place[number] = target_place
    if target is not None and target_place < 0:
        target_place = len(kept)
        kept.append(target)

    vocabulary = load_vocabulary(kept, origin=origin)
    ignore_label = 255 if len(vocabulary) <= 255 else 65535
    index = {number: place.get(number, ignore_label) for number in names}
    if target is None:
        return Classes(vocabulary, ignore_label, index, ignore_label, "unlabelled pixels are ignored")
    return Classes(
        vocabulary,
        ignore_label,
        index,
        target_place,
        f"unlabelled pixels are of the class {vocabulary[target_place]!r}",
    )


def ignored_names(names: Mapping[int, Name], classes: Classes) -> list[str]:
    """Return the names that are ignored."""
    return [str(name) for number, name in names.items() if classes.index[number] == classes.ignore_label]


def is_background(name: Name) -> bool:
    """Tell whether a class is what is left where nothing else is."""
    return _plain(name) in _BACKGROUND


def _plain(name: Name) -> str:
    first = name if isinstance(name, str) else name[0]
    return " ".join(first.casefold().replace("_", " ").replace("-", " ").split())
