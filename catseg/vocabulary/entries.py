"""Entries of lists, files and typed lines: what they mean, and which are refused."""

import logging
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

from catseg.errors import InputError
from catseg.vocabulary.vocabulary import Vocabulary

_ENUMERATION = re.compile(r"[/\\&+]| and ")  # in the name of a sole class, which may have been meant as several

logger = logging.getLogger(__name__)

Entries = Iterable[tuple[str, object]]  # each with its place, such as "line 3"

# What East Asian keyboards and word processors type: full-width comma, enumeration comma, full-width semicolon,
# full-width vertical line, and curly quotes.
AS_ASCII = str.maketrans("\uff0c\u3001\uff1b\uff5c\u201c\u201d", ',,;|""')
_SEPARATORS = ",;|"
_JOINERS = "\u200c\u200d"  # invisible, but part of words and emoji


def numbered(kind: str, entries: Iterable[object]) -> Entries:
    """Give each entry its place: `kind` and its number, from 1."""
    return ((f"{kind} {number}", entry) for number, entry in enumerate(entries, 1))


def checked(entries: Entries, origin: str) -> Vocabulary:
    """Make a vocabulary of entries.

    Args:
        entries: strings, and sequences of synonyms.
        origin: where they come from, as messages say it.

    Raises:
        ValueError: if there is none, or one is no name, is ambiguous, or repeats an earlier one, case aside.
    """
    classes: list[tuple[str, ...]] = []
    places: dict[tuple[str, ...], str] = {}
    for place, entry in entries:
        synonyms = synonyms_of(entry, f"{place} of {origin}")
        same = tuple(sorted(synonym.casefold() for synonym in synonyms))
        if same in places:
            raise InputError(f"{place} of {origin} repeats the class {', '.join(synonyms)!r} of {places[same]}")
        places[same] = place
        classes.append(synonyms)
    if not classes:
        raise InputError(f"{origin} holds no class names")
    if len(classes) == 1 and _might_be_several(entry):
        raise InputError(
            f"{origin} holds one class with {len(synonyms)} synonyms: write one class per {place.split()[0]}, "
            f'or "{" | ".join(synonyms)}" if they are synonyms'
        )
    _warn_of_doubtful(classes, origin)
    return Vocabulary(classes, origin)


def _might_be_several(entry: object) -> bool:
    return isinstance(entry, str) and any(separator in entry.translate(AS_ASCII) for separator in ",;")


def _warn_of_doubtful(classes: Sequence[tuple[str, ...]], origin: str) -> None:
    if len(classes) == 1 and _ENUMERATION.search(", ".join(classes[0])):
        name = ", ".join(classes[0])
        _warn_once(f"{origin} holds one class, {name!r}: if these are several, write ',' between them")
    count = Counter(synonym.casefold() for synonyms in classes for synonym in synonyms)
    shared = [synonym for synonym, times in count.items() if times > 1]
    if shared:
        more = f" and {len(shared) - 3} more" * (len(shared) > 3)
        _warn_once(f"{origin} has several classes with the same synonym: {', '.join(map(repr, shared[:3]))}{more}")


@cache
def _warn_once(message: str) -> None:
    """Warn, unless of the same already: a data set's classes are loaded by all who need them."""
    logger.warning("%s", message)


def synonyms_of(entry: object, where: str) -> tuple[str, ...]:
    """Split an entry into its synonyms.

    Args:
        entry: a string, or a sequence of synonyms.
        where: its place, as messages say it.

    Raises:
        ValueError: if a synonym is no name, or is there twice.
    """
    if isinstance(entry, str):
        words: Sequence[object] = _split(entry, where)
    elif isinstance(entry, list | tuple) and entry:
        words = entry
    else:
        raise InputError(f"{where} must be a name, got {type(entry).__name__}: {entry!r}")
    kind = "name" if len(words) == 1 else "synonym"
    synonyms = tuple(_name(word, kind, where) for word in words)
    if len({synonym.casefold() for synonym in synonyms}) < len(synonyms):
        raise InputError(f"{where} has the same synonym twice: {entry!r}")
    return synonyms


def _split(entry: str, where: str) -> list[str]:
    text = entry.translate(AS_ASCII).strip()
    if "\n" in text or "\r" in text:
        raise InputError(f"{where} has a line break in it, expected one class per entry: {entry!r}")
    used = [separator for separator in _SEPARATORS if separator in text]
    if not used:
        return [text]
    if len(used) > 1:
        raise InputError(f"{where} has both {used[0]!r} and {used[1]!r}, expected one class per entry: {entry!r}")
    words = text.split(used[0])
    if used != ["|"] and any(word.strip().isdecimal() for word in words[1:]):
        raise InputError(
            f"{where} looks like a row of a table, {entry!r}: save the table as .csv with a header, "
            "or write '|' before numbers that are synonyms"
        )
    return words


def _name(word: object, kind: str, where: str) -> str:
    """Normalise and check a name or a synonym, as `kind` says."""
    if not isinstance(word, str):
        raise InputError(f"{where} must have strings for synonyms, got {type(word).__name__}: {word!r}")
    name = _without_quotes(" ".join(unicodedata.normalize("NFC", word.translate(AS_ASCII)).split()), where)
    if not name:
        raise InputError(f"{where} has an empty {kind}")
    if any(separator in name for separator in _SEPARATORS):
        raise InputError(f"{where} has a separator within a synonym: {word!r}")
    for character in name:
        category = unicodedata.category(character)
        if character == "\ufffd" or category in ("Cc", "Cs") or (category == "Cf" and character not in _JOINERS):
            raise InputError(
                f"{where} has the character U+{ord(character):04X}, which is invisible or not valid Unicode: {name!r}"
            )
    if all(character in string.punctuation or unicodedata.category(character)[0] in "PZ" for character in name):
        raise InputError(f"{where} has a {kind} of nothing but punctuation: {name!r}")
    return name


def _without_quotes(name: str, where: str) -> str:
    if not name.startswith(('"', "'")):
        return name
    if len(name) == 1 or name[-1] != name[0]:
        raise InputError(f"{where} opens a quote that it does not close: {name!r}")
    return name[1:-1].strip()
