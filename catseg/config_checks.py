"""Checks of config values, made where a value is used: ranges, lengths and pairs.

Values come by the full names of their keys. What does not fit is a ValueError that names the key and what it expects.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from catseg.errors import InputError

Numbers = float | Sequence[float]

LARGEST_SIZE = 2**16  # of widths, counts and factors: beyond it a network would fill the memory, or overflow


def check_at_least(lowest: float, values: Mapping[str, Numbers]) -> None:
    """Check that numbers, and those in lists, are finite and at least `lowest`."""
    _check(values, lambda number: number >= lowest, f"of at least {lowest}")


def check_sizes(values: Mapping[str, Numbers], *, lowest: int = 1) -> None:
    """Check that widths, side lengths or counts, and those in lists, lie in lowest..`LARGEST_SIZE`."""
    _check(values, lambda number: lowest <= number <= LARGEST_SIZE, f"of {lowest} to {LARGEST_SIZE}")


def check_positive(values: Mapping[str, Numbers]) -> None:
    """Check that factors, and those in lists, are above 0 and at most `LARGEST_SIZE`."""
    _check(values, lambda number: 0 < number <= LARGEST_SIZE, f"above 0, at most {LARGEST_SIZE}")


def check_share(values: Mapping[str, float]) -> None:
    """Check that numbers are shares that leave something: 0 <= share < 1."""
    _check(values, lambda number: 0 <= number < 1, "of at least 0 and below 1")


def check_finite(values: Mapping[str, Numbers]) -> None:
    """Check that numbers, and those in lists, are neither NaN nor infinite."""
    _check(values, lambda _: True, "that is finite")


def check_length(length: int, values: Mapping[str, Sequence[float]]) -> None:
    """Check that lists have `length` numbers."""
    for key, value in values.items():
        if len(value) != length:
            raise InputError(f"{key} is {list(value)}, expected {length} numbers")


def pair(key: str, values: Sequence[int], *, lowest: int = 1) -> tuple[int, int]:
    """Return the rows and columns that a key holds, in lowest..`LARGEST_SIZE`.

    Raises:
        ValueError: if there are fewer or more numbers, or one is lower or higher.
    """
    check_length(2, {key: values})
    check_sizes({key: values}, lowest=lowest)
    rows, columns = values
    return rows, columns


def check_normalisation(section: str, mean: Sequence[float], std: Sequence[float]) -> None:
    """Check `section`.PIXEL_MEAN and PIXEL_STD: three finite numbers each, for red, green and blue."""
    check_length(3, {f"{section}.PIXEL_MEAN": mean, f"{section}.PIXEL_STD": std})
    check_finite({f"{section}.PIXEL_MEAN": mean})
    check_positive({f"{section}.PIXEL_STD": std})


def _check(values: Mapping[str, Numbers], fits: Callable[[float], bool], expected: str) -> None:
    for key, value in values.items():
        several = isinstance(value, Sequence)
        numbers = value if isinstance(value, Sequence) else [value]
        if not all(math.isfinite(number) and fits(number) for number in numbers):
            shown = list(numbers) if several else value
            raise InputError(f"{key} is {shown!r}, expected {'numbers' if several else 'a number'} {expected}")
