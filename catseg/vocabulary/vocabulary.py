"""The classes to look for, as one immutable object that is made once and passed on."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Self


class Vocabulary(tuple[str, ...]):
    """The names of the classes to look for: a tuple that also holds the synonyms of each class.

    The name of a class is its synonyms joined by ", ". A vocabulary equals a tuple or list of the same names: no
    synonym holds a comma, so equal names mean equal synonyms. `catseg.vocabulary.load_vocabulary` makes and checks one.
    A slice is a plain tuple of names.
    """

    _synonyms: tuple[tuple[str, ...], ...]
    _origin: str

    def __new__(cls, classes: Iterable[str | Sequence[str]] = (), origin: str = "the vocabulary") -> Self:
        """Join names from synonyms, unchecked.

        Args:
            classes: the synonyms of each class; a string is a class with one.
            origin: where they come from, as messages say it: "the vocabulary names.txt".
        """
        synonyms = tuple((words,) if isinstance(words, str) else tuple(words) for words in classes)
        vocabulary = super().__new__(cls, (", ".join(words) for words in synonyms))
        vocabulary._synonyms = synonyms
        vocabulary._origin = origin
        return vocabulary

    def __eq__(self, other: object) -> bool:
        return super().__eq__(tuple(other) if isinstance(other, list) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__

    def __repr__(self) -> str:
        return f"Vocabulary({[words if len(words) > 1 else words[0] for words in self._synonyms]})"

    @property
    def synonyms(self) -> tuple[tuple[str, ...], ...]:
        """The synonyms of each class, at least one."""
        return self._synonyms

    @property
    def origin(self) -> str:
        """Where the classes come from, as messages say it."""
        return self._origin

    @property
    def short_names(self) -> tuple[str, ...]:
        """The first synonym of each class, or its whole name where several classes have the same first synonym."""
        count = Counter(words[0] for words in self._synonyms)
        classes = zip(self, self._synonyms, strict=True)
        return tuple(name if count[words[0]] > 1 else words[0] for name, words in classes)

    def first_synonyms(self) -> "Vocabulary":
        """Return the same classes with their first synonyms alone."""
        return Vocabulary([words[:1] for words in self._synonyms], self._origin)
