"""Files of class names, as annotation tools, trainers and spreadsheets write them.

`.txt`, `.names`
    One class per line. Blank lines are skipped, lines that start with "//", and what follows a "#" at the start of
    a line or after white space. Numbers that count the lines from 0 or 1 ("0 sofa", "1: sofa", "2, sofa") are dropped,
    as are bullets ("- sofa") where all lines have one; tabs make it a table.
`.csv`, `.tsv`
    A table. The names stand in the only column, in that whose header says "name", "class", "label" or the like, or in
    the only one that is not numbers. A column "id", "index" or the like gives the order, one "synonyms" more synonyms.
`.json`, `.yaml`, `.yml`
    A list; or an object with one under "classes", "names", "categories", "labels", "stuff_classes" or "id2label"; or
    names by number, or numbers by name. An entry is a name, a list of synonyms, or an object with a "name" and perhaps
    an "id" and "synonyms", as COCO and LVIS have them.

Numbers decide the order and have to run from 0 or 1 without gaps; those of objects with an "id" may have gaps, of which
a warning tells. Text is UTF-8 or, with its mark, UTF-16.
"""

import codecs
import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from catseg.errors import InputError
from catseg.vocabulary.entries import Entries, numbered
from catseg.vocabulary.tables import in_order, table_entries

logger = logging.getLogger(__name__)

_LIST_KEYS = ("classes", "names", "categories", "labels", "stuff_classes", "id2label")
_NAME_KEYS = ("name", "label", "title", "value")
_BULLET = re.compile(r"[-*+\u2022\u2013]\s+(?=\S)")
_NUMBERED_LINE = re.compile(r"(\d+)(\s*[:=,;)]\s*|\.\s+|\s+-\s+|\s+)(\S.*)")


def read_entries(path: Path, origin: str) -> Entries:
    """Read the entries of a file, one for each class, each with its place in the file.

    Args:
        path: a file whose name ends in one of `SUFFIXES`.
        origin: the file, as messages say it.

    Raises:
        ValueError: if the file is not text, not of the format that its name tells, or holds no list of classes.
    """
    return _READERS[path.suffix.lower()](_decode(path.read_bytes(), origin), origin)


def text_entries(text: str, origin: str) -> Entries:
    """List the classes of a text with one per line."""
    lines = [(place, re.sub(r"(^|\s)#.*", "", line).strip()) for place, line in _lines(text)]
    lines = [(place, line) for place, line in lines if line and not line.startswith("//")]
    if all(_BULLET.match(line) for _, line in lines):
        lines = [(place, _BULLET.sub("", line)) for place, line in lines]
    if any("\t" in line for _, line in lines):
        return table_entries(lines, "\t", origin)
    return _without_numbers(lines, origin)


def _without_numbers(lines: Sequence[tuple[str, str]], origin: str) -> Entries:
    """Drop the numbers of numbered lines, but for those that may belong to names ("50 cent coin")."""
    matches = [match for match in (_NUMBERED_LINE.fullmatch(line) for _, line in lines) if match is not None]
    if not lines or len(matches) < len(lines):
        return lines
    numbers = [int(match[1]) for match in matches]
    if all(match[2].isspace() for match in matches) and (min(numbers) > 1 or len(set(numbers)) < len(numbers)):
        return lines
    logger.info("%s: the numbers before the names are dropped", origin)
    places = [place for place, _ in lines]
    return in_order([(n, place, match[3]) for n, place, match in zip(numbers, places, matches, strict=True)], origin)


def _csv_entries(text: str, origin: str) -> Entries:
    lines = [(place, line) for place, line in _lines(text) if not re.match(r"\s*#\s*[^\s,;]", line)]
    delimiter = max(",;\t", key=lines[0][1].count) if lines else ","
    return table_entries(lines, delimiter, origin)


def _tsv_entries(text: str, origin: str) -> Entries:
    return table_entries(_lines(text), "\t", origin)


def _lines(text: str) -> list[tuple[str, str]]:
    """List the lines that are not blank, each with its place."""
    lines = enumerate(re.split(r"\r\n|\r|\n", text), 1)
    return [(f"line {number}", line) for number, line in lines if line.strip()]


def _json_entries(text: str, origin: str) -> Entries:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _refuse_repeated([key for key, _ in pairs], origin)
        return dict(pairs)

    try:
        content = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise InputError(f"{origin} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    return _structured_entries(content, origin)


def _yaml_entries(text: str, origin: str) -> Entries:
    try:
        for node in _mappings(yaml.compose(text, yaml.SafeLoader)):
            _refuse_repeated([key.value for key, _ in node.value], origin)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{origin} is not YAML: {' '.join(str(error).split())}") from error
    return _structured_entries(content, origin)


def _mappings(node: yaml.Node | None) -> Iterator[yaml.MappingNode]:
    """Yield every mapping below a node."""
    if isinstance(node, yaml.MappingNode):
        yield node
        for _, value in node.value:
            yield from _mappings(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _mappings(value)


def _refuse_repeated(keys: Sequence[object], origin: str) -> None:
    """Refuse keys of which both formats would keep the last only."""
    for place, key in enumerate(keys):
        if key in keys[:place]:
            raise InputError(f"{origin} has the key {key!r} twice in one object")


def _structured_entries(content: Any, origin: str) -> Entries:
    """Find the classes in what a JSON or YAML file holds."""
    if isinstance(content, dict):
        keys = [key for key in _LIST_KEYS if key in content]
        if len(keys) > 1:
            raise InputError(f'{origin} has lists under both "{keys[0]}" and "{keys[1]}": keep one')
        content = content[keys[0]] if keys else content
    if isinstance(content, dict):
        return _entries_by_number(content, origin)
    if not isinstance(content, list):
        raise InputError(f'{origin} must hold a list of names, or an object with one under "{_LIST_KEYS[0]}"')
    if not any(isinstance(entry, dict) for entry in content):
        return numbered("entry", content)
    return _entries_of_objects(content, origin)


def _entries_by_number(content: dict[Any, Any], origin: str) -> Entries:
    if content and all(isinstance(value, int) and not isinstance(value, bool) for value in content.values()):
        pairs = [(number, name) for name, number in content.items()]
    elif all(str(key).isdecimal() for key in content):
        pairs = [(int(key), name) for key, name in content.items()]
    else:
        keys = ", ".join(f'"{key}"' for key in _LIST_KEYS)
        raise InputError(f"{origin} must hold a list of names, an object with one under {keys}, or names by number")
    return in_order([(number, f"number {number}", name) for number, name in pairs], origin)


def _entries_of_objects(content: Sequence[Any], origin: str) -> Entries:
    """List classes that are objects: those of COCO, LVIS and annotation tools."""
    entries = []
    for place, item in numbered("entry", content):
        key = next((key for key in _NAME_KEYS if isinstance(item, dict) and key in item), None)
        if not isinstance(item, dict) or key is None:
            raise InputError(f'{place} of {origin} must be an object with a "name", as others are, got {item!r}')
        more = item.get("synonyms") or []
        if not isinstance(more, list):
            raise InputError(f'{place} of {origin} must have a list of "synonyms", got {more!r}')
        more = [word for word in more if word != item[key]]
        number = item.get("id")
        if not isinstance(number, int | None):
            raise InputError(f'{place} of {origin} must have a whole number as "id", got {number!r}')
        entries.append((number, place, [item[key], *more] if more else item[key]))
    with_id = [(number, place, entry) for number, place, entry in entries if number is not None]
    if 0 < len(with_id) < len(entries):
        raise InputError(f'{origin} must have an "id" for all classes, or for none')
    return in_order(with_id, origin, gaps_allowed=True) or [(place, entry) for _, place, entry in entries]


def _decode(content: bytes, origin: str) -> str:
    """Decode text as UTF-8, or as UTF-16 if it begins with the mark of that."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    if b"\0" in content:
        raise InputError(
            f"{origin} is not text: if it is a spreadsheet, export it as .csv; if UTF-16, save it as UTF-8"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{origin} is not UTF-8 text (byte 0x{content[error.start]:02X} in line {line}); if it is Latin-1 or "
            "Windows-1252, convert it: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW"
        ) from error


_READERS: dict[str, Callable[[str, str], Entries]] = {
    ".txt": text_entries,
    ".names": text_entries,
    ".csv": _csv_entries,
    ".tsv": _tsv_entries,
    ".json": _json_entries,
    ".yaml": _yaml_entries,
    ".yml": _yaml_entries,
}
SUFFIXES = tuple(_READERS)
