"""Files that say which number, or which colour, stands for which class."""

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from catseg.data.formats.classes import Name
from catseg.data.formats.files import read_json, read_text
from catseg.data.formats.label_files import Colour
from catseg.errors import InputError

_ADE20K = "objectinfo150.txt"  # numbers begin at 1, and 0 is unlabelled
NAME_FILES = (
    *(
        f"{stem}{suffix}"
        for stem in (
            "classes",
            "_classes",
            "names",
            "labels",
            "class_names",
            "label_names",
            "categories",
            "obj",
            "codes",
        )
        for suffix in (".txt", ".names", ".csv", ".json", ".yaml", ".yml")
    ),
    _ADE20K,
)
COLOUR_FILES = tuple(
    f"{stem}{suffix}"
    for stem in (
        *("colors", "colours", "color_table", "colour_table", "colormap", "colour_map", "color_map", "palette"),
        *("label_colors", "label_colours", "class_colors", "class_dict", "class_dict_seg", "labelmap", "label_map"),
    )
    for suffix in (".csv", ".txt", ".json")
)
_KEYS = ("names", "classes", "categories", "labels", "id2label")
_NAME_HEADERS = ("name", "class", "class_name", "label", "category", "names", "classes")
_NUMBER_HEADERS = ("id", "value", "index", "number", "class_id", "label_id", "category_id", "idx", "pixel_value")
_COLOUR_HEADERS = (("r", "g", "b"), ("red", "green", "blue"), ("color",), ("colour",), ("rgb",), ("hex",))
_NUMBERED = re.compile(r"(-?\d+)\s*[:=,;)\t ]\s*(\S.*)")
_PLAINLY_NUMBERED = re.compile(r"-?\d+\s*[:=].*")
_RGB = r"(?P<colour>\d{1,3}[\s,;]+\d{1,3}[\s,;]+\d{1,3})"
_COLOUR_LINES = (
    re.compile(rf"(?P<name>.+?)\s*:\s*{_RGB}\s*(:.*)?"),  # CVAT: name:r,g,b:parts:actions
    re.compile(rf"{_RGB}[\s,;:]+(?P<name>[^\d\s,;:].*)"),  # CamVid: r g b name
    re.compile(rf"(?P<name>.*[^\s,;:=])[\s,;:=]+{_RGB}"),
)
_HEX = re.compile(r"#?([0-9a-fA-F]{6})")


def read_numbers(path: Path) -> dict[int, Name]:
    """Read which number stands for which class.

    Args:
        path: a text with one name per line, which counts from 0 unless the lines are numbered; a table with columns for
            name and number, as Roboflow and ADE20K have it; or JSON or YAML: a list, names by number, numbers by name,
            or objects with "id" and "name". A first line "__ignore__", as labelme's lists have, is the number -1.

    Raises:
        OSError: if it cannot be opened.
        ValueError: if it is none of these, or has a number twice.
    """
    suffix = path.suffix.lower()
    if suffix in (".json", ".yaml", ".yml"):
        return numbers_of(read_json(path) if suffix == ".json" else read_yaml(path), str(path))
    if path.name.casefold() == _ADE20K:
        return {0: "unlabelled"} | {number: str(name).split(", ") for number, name in _numbers_of_table(path).items()}
    if suffix == ".csv":
        return _numbers_of_table(path)
    return _numbers_of_lines(read_text(path), str(path))


def _numbers_of_lines(text: str, origin: str) -> dict[int, Name]:
    """Find which number stands for which class in lines of text, see `read_numbers`; "# ..." is a comment."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not re.match(r"#(\s|$)", line.strip())]
    matches = [match for line in lines if (match := _NUMBERED.fullmatch(line))]
    if lines and len(matches) == len(lines):
        return _unique([(int(match[1]), match[2]) for match in matches], origin)
    if any(map(_PLAINLY_NUMBERED.fullmatch, lines)):
        wrong = next(line for line in lines if not _NUMBERED.fullmatch(line))
        raise InputError(f"{origin} must number all of its lines or none, got {wrong!r} among numbered ones")
    return dict(enumerate(lines, -1 if lines and lines[0] == "__ignore__" else 0))


def _numbers_of_table(path: Path) -> dict[int, Name]:
    rows = _table(path)
    name, number = _column(rows[0], _NAME_HEADERS), _column(rows[0], _NUMBER_HEADERS)
    if name is None:
        return dict(enumerate(row[0] for row in rows))
    pairs = [(row[number] if number is not None else place, row[name]) for place, row in enumerate(rows[1:])]
    return _unique(pairs, str(path))


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        OSError: if it cannot be opened.
        ValueError: if it is no YAML.
    """
    content = read_text(path)
    try:
        return yaml.safe_load(content)
    except (yaml.YAMLError, ValueError) as error:  # ValueError for dates that are none
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error


def numbers_of(content: Any, origin: str) -> dict[int, Name]:
    """Find which number stands for which class in what a JSON or YAML file holds, see `read_numbers`."""
    if isinstance(content, Mapping):
        content = next((content[key] for key in _KEYS if isinstance(content.get(key), list | dict)), content)
    if isinstance(content, Mapping):
        if content and all(_is_whole(value) for value in content.values()):
            return _unique([(number, name) for name, number in content.items()], origin)
        if all(_is_whole(key) for key in content):
            return _unique(content.items(), origin)
    elif isinstance(content, list) and content:
        if all(isinstance(item, Mapping) and "name" in item for item in content):
            return _unique([(item.get("id", place), item["name"]) for place, item in enumerate(content)], origin)
        if not any(isinstance(item, Mapping) for item in content):
            return _unique(enumerate(content), origin)
    raise InputError(
        f"{origin} must hold a list of class names, names by number, or objects with an id and a name; "
        "names with a colon in them are in quotes"
    )


def read_colours(path: Path) -> list[tuple[Name, Colour]]:
    """Read which colour stands for which class.

    Args:
        path: lines with a name and three numbers in either order, as CamVid and CVAT write them; a table with columns
            for name, red, green and blue; or JSON: colours by name, or objects with "name" and "color", which are three
            numbers, "r", "g" and "b", or hexadecimal ("#ff0000").

    Returns:
        Name and colour, RGB 0..255, of each entry.

    Raises:
        OSError: if it cannot be opened.
        ValueError: if it is none of these, or gives one colour to two classes.
    """
    if path.suffix.lower() == ".json":
        found = _colours_of_json(read_json(path), path)
    elif path.suffix.lower() == ".csv" and (columns := _colour_columns((rows := _table(path))[0])):
        name, *channels = columns
        cells = [(row[name], [row[channel] for channel in channels]) for row in rows[1:]]
        found = [(name, _colour(values[0] if len(values) == 1 else values, path)) for name, values in cells]
    else:
        found = _colours_of_lines(path)
    owner: dict[Colour, Name] = {}
    for name_of_colour, colour in found:
        if owner.setdefault(colour, name_of_colour) != name_of_colour:
            raise InputError(f"{path} gives the colour {colour} to both {owner[colour]!r} and {name_of_colour!r}")
    if not found:
        raise InputError(f"{path} holds no colours: write a name and three numbers 0..255 on each line")
    return found


def _colours_of_lines(path: Path) -> list[tuple[Name, Colour]]:
    found: list[tuple[Name, Colour]] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = next((match for pattern in _COLOUR_LINES if (match := pattern.fullmatch(line.strip()))), None)
        if match is not None:
            found.append((match["name"].strip(), _colour(re.split(r"[\s,;]+", match["colour"]), path)))
        elif found or any(character.isdigit() for character in line):  # no header
            raise InputError(
                f"line {number} of {path} must hold a class name and its colour, three numbers 0..255, "
                f"got {line.strip()!r}"
            )
    numbered = [match for name, _ in found if (match := _NUMBERED.fullmatch(str(name)))]
    if len(numbered) == len(found):
        return [(match[2], colour) for match, (_, colour) in zip(numbered, found, strict=True)]
    return found


def _colours_of_json(content: Any, path: Path) -> list[tuple[Name, Colour]]:
    if isinstance(content, Mapping):
        content = next((content[key] for key in _KEYS if isinstance(content.get(key), list | dict)), content)
    if isinstance(content, Mapping):
        if content and all(_HEX.fullmatch(str(key)) or "," in str(key) for key in content):  # names by colour
            return [(name, _colour(colour, path)) for colour, name in content.items()]
        return [(name, _colour(colour, path)) for name, colour in content.items()]
    if isinstance(content, list) and all(isinstance(item, Mapping) and "name" in item for item in content):
        return [(item["name"], _colour(item.get("color", item.get("colour")), path)) for item in content]
    raise InputError(f"{path} must hold colours by class name, or objects with a name and a color")


def _colour(value: Any, path: Path) -> Colour:
    if isinstance(value, Mapping):
        value = [value.get(channel) for channel in "rgb"]
    if isinstance(value, str):
        match = _HEX.fullmatch(value.strip())
        value = list(bytes.fromhex(match[1])) if match else re.findall(r"\d+", value)
    try:
        channels = [int(channel) for channel in value]
    except (TypeError, ValueError):
        channels = []
    if len(channels) != 3 or not all(0 <= channel <= 255 for channel in channels):
        raise InputError(f"{path} must give each class a colour, three numbers 0..255, got {value!r}")
    return channels[0], channels[1], channels[2]


def _table(path: Path) -> list[list[str]]:
    text = read_text(path)
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=delimiter)]
    rows = [row for row in rows if any(row)]
    wrong = [row for row in rows if len(row) < len(rows[0]) or any(row[len(rows[0]) :])]
    if not rows or wrong:
        raise InputError(
            f"{path} must be a table with as many cells in each line as in the first; a cell that holds the separator "
            f"is in quotes{f', got {delimiter.join(wrong[0])!r}' if wrong else ''}"
        )
    return rows


def _column(header: list[str], names: Iterable[str]) -> int | None:
    plain = [re.sub(r"\W+", "_", cell.casefold()) for cell in header]
    return next((plain.index(name) for name in names if name in plain), None)


def _colour_columns(header: list[str]) -> list[int] | None:
    for channels in _COLOUR_HEADERS:
        columns = [_column(header, _NAME_HEADERS), *(_column(header, [channel]) for channel in channels)]
        if all(column is not None for column in columns):
            return [column for column in columns if column is not None]
    return None


def _is_whole(value: Any) -> bool:
    return not isinstance(value, bool) and re.fullmatch(r"-?\d+", str(value)) is not None


def _unique(pairs: Iterable[tuple[Any, Any]], origin: str) -> dict[int, Name]:
    found: dict[int, Name] = {}
    for number, name in pairs:
        if not _is_whole(number):
            raise InputError(f"{origin} must number its classes with whole numbers, got {number!r}")
        if int(number) in found:
            raise InputError(f"{origin} gives the number {number} to both {found[int(number)]!r} and {name!r}")
        if not isinstance(name, str | int | float | list | tuple) or isinstance(name, bool):
            raise InputError(f"{origin} has {name!r} as the name of class {number}: put such names in quotes")
        found[int(number)] = name if isinstance(name, list | tuple) else str(name)
    return dict(sorted(found.items()))
