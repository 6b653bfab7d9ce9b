"""Vocabularies: the class names that an image is segmented into, from files, lists or a command line.

A name may hold synonyms after ", " ("sofa, couch"): they are one class, whose text features are averaged.
"""

import difflib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_SHIPPED = Path(__file__).with_name("vocabularies")
_SUFFIXES = (".json", ".txt")
_SYNONYM_SEPARATOR = ", "
_COMMAND_LINE_SYNONYM_SEPARATOR = "|"


def load_vocabulary(source: str | Path | Sequence[str]) -> list[str]:
    """Read and check class names.

    Args:
        source: one of
            - a sequence of names, synonyms after ", ": `["sofa, couch", "cat"]`;
            - the name of a shipped vocabulary (`shipped_vocabularies()` lists them): `"ade20k_150"`;
            - the path of a `.json` file that holds a list of names, or an object with that list under "classes";
            - the path of a `.txt` file with one name per line; blank lines are skipped;
            - a line of names as typed in a shell, where "," separates classes and "|" synonyms:
              `"sofa | couch, night sky, cat"`.

    Returns:
        The names, class k being the k-th. White space around and repeated inside a name is dropped.

    Raises:
        FileNotFoundError: if `source` names a file that does not exist.
        ValueError: if `source` is none of the above, cannot be read, is empty, or holds an entry that is not a string,
            is empty, has an empty synonym, or names the same class as an earlier one (case aside: CLIP reads lower
            case). The message says where.
    """
    if isinstance(source, Path):
        return _load_file(source)
    if isinstance(source, str):
        return _load_string(source)
    return _validated(_numbered("entry", _checked_sequence(source)), "the vocabulary")


def shipped_vocabularies() -> list[str]:
    """Names of the vocabularies that come with the package, sorted."""
    return sorted(path.stem for path in _SHIPPED.glob("*.json"))


def synonyms(name: str) -> list[str]:
    """Split a class name into its synonyms: `"sofa, couch"` into `["sofa", "couch"]`."""
    return name.split(_SYNONYM_SEPARATOR)


def _checked_sequence(source: object) -> Sequence[object]:
    if not isinstance(source, Sequence) or isinstance(source, bytes | bytearray):
        raise ValueError(f"a vocabulary is a list of names, a file or a line of text, got {type(source).__name__}")
    return source


def _load_string(text: str) -> list[str]:
    if text in shipped_vocabularies():
        return _load_file(_SHIPPED / f"{text}.json")
    if "," not in text and Path(text).suffix.lower() in _SUFFIXES:
        return _load_file(Path(text))
    _refuse_misspelt_vocabulary(text)
    classes = (
        _SYNONYM_SEPARATOR.join(synonym.strip() for synonym in name.split(_COMMAND_LINE_SYNONYM_SEPARATOR))
        for name in text.split(",")
    )
    return _validated(_numbered("name", classes), f"the class list {text!r}")


def _refuse_misspelt_vocabulary(text: str) -> None:
    """Refuse a single word that looks like the name of a shipped vocabulary, rather than take it for a class."""
    if any(character in text for character in f",{_COMMAND_LINE_SYNONYM_SEPARATOR}") or len(text.split()) != 1:
        return
    close = difflib.get_close_matches(text.lower(), shipped_vocabularies(), cutoff=0.7)
    if close or "_" in text:
        hint = f"did you mean {' or '.join(close)}?"
        if not close:
            spaced = " ".join(text.replace("_", " ").split())
            hint = f'there are {", ".join(shipped_vocabularies())}. If it is a class, write "{spaced}".'
        raise ValueError(
            f"no shipped vocabulary is called {text!r}; {hint} A file must end in {' or '.join(_SUFFIXES)}, "
            "and a list of classes needs commas"
        )


def _load_file(path: Path) -> list[str]:
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ValueError(f"the vocabulary {path} must be a file that ends in {' or '.join(_SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"no vocabulary file {path}; shipped ones are {', '.join(shipped_vocabularies())}")
    source = f"the vocabulary {path}"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{source} is not UTF-8 text: {error}") from error
    if suffix == ".json":
        return _validated(_numbered("entry", _names_in_json(text, source)), source)
    lines = _numbered("line", text.split("\n"))
    return _validated(((place, line) for place, line in lines if line.strip()), source)


def _names_in_json(text: str, source: str) -> list[Any]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{source} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    names = content.get("classes") if isinstance(content, dict) else content
    if not isinstance(names, list):
        raise ValueError(f'{source} must hold a list of names, or an object with one under "classes"')
    return names


def _numbered(kind: str, entries: Iterable[Any]) -> Iterable[tuple[str, Any]]:
    return ((f"{kind} {number}", entry) for number, entry in enumerate(entries, 1))


def _validated(entries: Iterable[tuple[str, Any]], source: str) -> list[str]:
    """Normalise and check names, each with the place it comes from."""
    names: list[str] = []
    places: dict[str, str] = {}
    for place, entry in entries:
        name = _normalised(entry, f"{place} of {source}")
        key = name.lower()
        if key in places:
            raise ValueError(f"{place} of {source} repeats the class {name!r} of {places[key]}")
        places[key] = place
        names.append(name)
    if not names:
        raise ValueError(f"{source} holds no class names")
    return names


def _normalised(entry: Any, where: str) -> str:
    if not isinstance(entry, str):
        raise ValueError(f"{where} must be a name, got {type(entry).__name__}: {entry!r}")
    name = " ".join(entry.split())
    if not name:
        raise ValueError(f"{where} is an empty name")
    if not all(synonym.strip(" ,") for synonym in synonyms(f"{name} ")):
        raise ValueError(f"{where} has an empty synonym: {name!r}")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where} is not valid Unicode: {name!r}") from error
    return name
