"""Makes a vocabulary of what users give: a list, a file, a typed line, or the name of a shipped one."""

import ast
import csv
import difflib
import json
import logging
import os
import re
import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from catseg.errors import InputError
from catseg.vocabulary.entries import AS_ASCII, Entries, checked, numbered
from catseg.vocabulary.files import SUFFIXES, read_entries, text_entries
from catseg.vocabulary.vocabulary import Vocabulary

VocabularySource = str | Path | Sequence[str | Sequence[str]]

logger = logging.getLogger(__name__)

_SHIPPED = Path(__file__).parents[1] / "vocabularies"
_ENDINGS = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"


def load_vocabulary(source: VocabularySource, *, origin: str = "the vocabulary") -> Vocabulary:
    """Read and check the classes to look for. `catseg.vocabulary` states the rule for separators.

    Args:
        source: one of
            - a list of classes: `["sofa", ("cat", "kitten"), "night sky"]`;
            - the name of a shipped vocabulary (`shipped_vocabularies()` lists them): `"ade20k_150"`;
            - the path of a file, as `catseg.vocabulary.files` describes them;
            - a line as typed in a shell: `"sofa | couch, night sky, cat"`;
            - a `Vocabulary`, which is returned as it is.
        origin: where a list comes from, as messages should say it.

    Returns:
        The vocabulary; class k is the k-th. White space around and repeated inside a name is dropped, as are quotes
        around it, and Unicode is composed (NFC).

    Raises:
        FileNotFoundError: if `source` names a file that does not exist.
        ValueError: if `source` is none of the above, cannot be read, is empty or ambiguous, or has an entry that is not
            a string or tuple, has an empty or unusable name, or is the same class as an earlier one (case aside: CLIP
            reads lower case). The message says where.
    """
    if isinstance(source, Vocabulary):
        return source
    if isinstance(source, Path):
        return _load_file(source)
    if isinstance(source, str):
        return _load_string(source)
    return checked(_list_entries(source, origin), origin)


@cache
def shipped_vocabularies() -> tuple[str, ...]:
    """Names of the vocabularies that come with the package, sorted."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.json")))


def _list_entries(source: object, origin: str) -> Entries:
    if not isinstance(source, Sequence) or isinstance(source, bytes | bytearray):
        raise InputError(f"{origin} must be a list of names, a file or a line of text, got {type(source).__name__}")
    for place, entry in numbered("entry", source):
        if isinstance(entry, str):
            _refuse_another_vocabulary(entry, f"{place} of {origin}")
    return numbered("entry", source)


def _load_string(text: str) -> Vocabulary:
    text = text.strip()
    if text in shipped_vocabularies():
        return _load_shipped(text)
    if os.path.exists(_expanded(text)) or _looks_like_path(text):  # noqa: PTH110
        return _load_file(Path(text))
    _refuse_misspelt_vocabulary(text)
    origin = f"the class list {textwrap.shorten(text, 80)!r}"
    return checked(line_entries(text, origin), origin)


def _load_shipped(name: str) -> Vocabulary:
    """Read a list exactly as published, down to a blank at the end of a synonym."""
    names = json.loads((_SHIPPED / f"{name}.json").read_text(encoding="utf-8"))["classes"]
    return Vocabulary((synonyms.split(", ") for synonyms in names), f"the shipped vocabulary {name}")


def _looks_like_path(text: str) -> bool:
    """Tell whether a text without separators and quotes ends like a file, or is a word with a slash."""
    if re.search(r"[,;|\n\t\"']", text.translate(AS_ASCII)):
        return False
    word = not re.search(r"\s", text)
    return text.lower().endswith(SUFFIXES) or (word and re.search(r"[/\\]|^~|\.[A-Za-z]{2,5}$", text) is not None)


def _refuse_misspelt_vocabulary(text: str) -> None:
    """Refuse a single word that looks like the name of a shipped vocabulary, rather than take it for a class."""
    if re.search(r"[,;|\s\"']", text.translate(AS_ASCII)) or not text:
        return
    close = difflib.get_close_matches(text.lower(), shipped_vocabularies(), cutoff=0.7)
    if close or "_" in text:
        hint = f"did you mean {' or '.join(close)}?"
        if not close:
            spaced = " ".join(text.replace("_", " ").split())
            hint = f'there are {", ".join(shipped_vocabularies())}. If it is a class, write "{spaced}".'
        raise InputError(
            f"no shipped vocabulary is called {text!r}; {hint} A file must end in {_ENDINGS}, "
            "and a list of classes needs commas"
        )


def _refuse_another_vocabulary(name: str, where: str) -> None:
    if name in shipped_vocabularies() or name.lower().endswith(SUFFIXES):
        raise InputError(f"{where} is the name of a vocabulary, not of a class: give {name!r} by itself")


def _load_file(path: Path) -> Vocabulary:
    path = Path(_expanded(path))
    known = path.suffix.lower() in SUFFIXES
    as_class = "" if known else f"; a class of that name is written in quotes: '\"{path}\"'"
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected a vocabulary file{as_class}")
    if not path.is_file():
        raise FileNotFoundError(
            f"no vocabulary file {path}; shipped ones are {', '.join(shipped_vocabularies())}{as_class}"
        )
    if not known:
        raise InputError(f"{path} is a file, but a vocabulary must end in {_ENDINGS}{as_class}")
    origin = f"the vocabulary {path}"
    return checked(read_entries(path, origin), origin)


def _expanded(path: str | Path) -> str:
    """Put the home folder for "~". Neither this nor `os.path.exists` has errors for words that are no paths."""
    return os.path.expanduser(path)  # noqa: PTH111


def line_entries(text: str, origin: str) -> Entries:
    """Split a line as typed in a shell, which names no file and no shipped vocabulary, into the entries of a list.

    Args:
        text: such as "sofa | couch, night sky, cat".
        origin: where it comes from, as messages say it.

    Raises:
        ValueError: if it is no list, or an entry of it is the name of a vocabulary.
    """
    text = text.translate(AS_ASCII).replace("\r\n", "\n")
    if re.match(r"\[|\(\s*[\"'(]", text):  # typed or pasted from a program
        try:
            classes = ast.literal_eval(text)
        except (SyntaxError, ValueError) as error:
            raise InputError(f"{origin} is no Python list: write classes without brackets, commas between") from error
        return _list_entries(classes, origin)
    text = re.sub(r"\s*([,;])\s*", r"\1", text)  # a line break after a comma only wraps the line
    unquoted = re.sub(r'"[^"]*"', "", text)
    used = [separator for separator in (",", ";", "\t", "\n") if separator in unquoted]
    if len(used) > 1:
        raise InputError(
            f"{origin} separates by both {used[0]!r} and {used[1]!r}: write ',' between classes, '|' between synonyms"
        )
    if used == ["\n"]:
        return text_entries(text, origin)
    return _fields(text, used[0] if used else ",", origin)


def _fields(text: str, separator: str, origin: str) -> Entries:
    """Split a line at a separator outside double quotes."""
    try:
        fields = next(csv.reader([text], delimiter=separator, strict=True), [""])
    except csv.Error as error:
        raise InputError(f"{origin} has a quote in the wrong place: {error}") from error
    for number, field in enumerate(fields, 1):
        _refuse_another_vocabulary(field.strip(), f"name {number} of {origin}")
    return numbered("name", fields)


def typed_line(classes: Vocabulary) -> str:
    """Return classes as a line that `load_vocabulary` reads as these; "", with a warning, if there is none."""
    line = ", ".join(" | ".join(words) for words in classes.synonyms)
    try:
        if load_vocabulary(line) == classes:
            return line
    except (ValueError, OSError) as error:
        logger.debug("%r is not read as the classes that it lists", line, exc_info=error)
    logger.warning("%s is not recorded: its names do not fit into one line", classes.origin)
    return ""
