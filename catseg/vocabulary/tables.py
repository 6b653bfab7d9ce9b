"""Tables of classes, as spreadsheets write them, and the order of classes that are numbered."""

import csv
import logging
import re
from collections.abc import Sequence
from itertools import pairwise

from catseg.errors import InputError
from catseg.vocabulary.entries import Entries

logger = logging.getLogger(__name__)

# In order of preference.
_NAME_HEADERS = ("name", "names", "class name", "class names", "class", "classes", "category", "label", "labels")
_NUMBER_HEADERS = ("id", "idx", "index", "number", "class id", "label id", "category id", "#", "")
_SYNONYM_HEADERS = ("synonyms", "synonym", "aliases", "alias")


def table_entries(lines: Sequence[tuple[str, str]], delimiter: str, origin: str) -> Entries:
    """List the classes of a table, whose columns are found as `catseg.vocabulary.files` says.

    Args:
        lines: those that are not blank, each with its place in the file.
        delimiter: between cells; cells that hold it are quoted.
        origin: the file, as messages say it.

    Raises:
        ValueError: if rows have different numbers of cells, it is not clear which column holds the names, or the
            numbers of the classes have gaps.
    """
    rows = [(place, _cells(line, delimiter, f"{place} of {origin}")) for place, line in lines]
    while rows and all(len(cells) > 1 and not cells[-1] for _, cells in rows):  # a delimiter at the end of each line
        rows = [(place, cells[:-1]) for place, cells in rows]
    for place, cells in rows:
        if len(cells) != len(rows[0][1]):
            raise InputError(
                f"{place} of {origin} has {len(cells)} cells, {rows[0][0]} has {len(rows[0][1])}: "
                f"write a cell that holds {delimiter!r} in double quotes"
            )
    header = [re.sub(r"[\s_-]+", " ", cell).casefold() for cell in rows[0][1]] if rows else []
    if any(cell in _NAME_HEADERS for cell in header):
        rows = rows[1:]
        name, number, more = _columns_of_header(header, rows)
    else:
        name, number, more = _columns_of_cells(rows, origin)
    entries = [(place, _entry(cells[name], cells[more] if more is not None else "")) for place, cells in rows]
    if number is None:
        return entries
    numbers = [int(cells[number]) for _, cells in rows]
    return in_order([(n, place, entry) for n, (place, entry) in zip(numbers, entries, strict=True)], origin)


def in_order(classes: Sequence[tuple[int, str, object]], origin: str, *, gaps_allowed: bool = False) -> Entries:
    """Sort classes by their numbers.

    Args:
        classes: number, place and entry of each.
        origin: the file, as messages say it.
        gaps_allowed: whether numbers that do not run from 0 or 1 without gaps are a warning only.

    Raises:
        ValueError: if a number occurs twice, or they do not run from 0 or 1 without gaps.
    """
    ordered = sorted(classes, key=lambda item: item[0])
    numbers = [number for number, _, _ in ordered]
    for number, following in pairwise(numbers):
        if number == following:
            raise InputError(f"{origin} gives the number {number} to two classes")
    if numbers and (numbers[0] not in (0, 1) or numbers[-1] != numbers[0] + len(numbers) - 1):
        found = f"{origin} numbers its {len(numbers)} classes from {numbers[0]} to {numbers[-1]}"
        if not gaps_allowed:
            raise InputError(f"{found}: number them from 0 or 1 without gaps, or list them without numbers")
        logger.warning("%s: class 0 is the first of them, and so on without gaps", found)
    return [(place, entry) for _, place, entry in ordered]


def _cells(line: str, delimiter: str, where: str) -> list[str]:
    try:
        cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise InputError(f"{where} has a quote in the wrong place: {error}") from error
    return [cell.strip() for cell in cells]


def _columns_of_header(
    header: Sequence[str], rows: Sequence[tuple[str, list[str]]]
) -> tuple[int, int | None, int | None]:
    """Find the columns of the names, the numbers and more synonyms by the first row."""
    whole = [all(cells[column].isdecimal() for _, cells in rows) for column in range(len(header))]
    names = [header.index(cell) for cell in _NAME_HEADERS if cell in header]
    name = next((column for column in names if not whole[column]), names[0])
    numbers = [column for column, cell in enumerate(header) if cell in (*_NUMBER_HEADERS, *_NAME_HEADERS)]
    number = next((column for column in numbers if column != name and whole[column]), None)
    return name, number, next((header.index(cell) for cell in _SYNONYM_HEADERS if cell in header), None)


def _columns_of_cells(rows: Sequence[tuple[str, list[str]]], origin: str) -> tuple[int, int | None, None]:
    """Find the columns of a table without a header by what they hold."""
    width = len(rows[0][1]) if rows else 1
    if width == 1:
        return 0, None, None
    words = [column for column in range(width) if not all(_is_number(cells[column]) for _, cells in rows)]
    if len(words) != 1:
        raise InputError(
            f"{origin} has {width} columns, and it is not clear which one holds the names: write one class per line, "
            'or a first line with "name" above the names'
        )
    other = 1 - words[0]
    counted = width == 2 and all(cells[other].isdecimal() for _, cells in rows)
    return words[0], other if counted else None, None


def _entry(name: str, more: str) -> str | list[str]:
    synonyms = [word for word in (part.strip() for part in re.split(r"[,;|]", more)) if word and word != name]
    return [name, *synonyms] if synonyms else name


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[-+]?\d+([.,]\d+)?", cell) is not None
