"""Whether tensors are those of a network, by names and shapes, and under which prefix."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from catseg.errors import InputError
from catseg.weight_files.unwrap import shorten

_DEPTH = 4  # modules that a network may be wrapped in


class MismatchError(InputError):
    """Tensors are not those of a network.

    Attributes:
        count: how many of them are unknown, missing or of another shape.
    """

    def __init__(self, message: str, count: int) -> None:
        """Make one with the message, which names some of the `count` tensors."""
        super().__init__(message)
        self.count = count


def check_fit(
    state: Mapping[str, Tensor],
    expected: Mapping[str, torch.Size],
    *,
    source: str,
    optional: Callable[[str], bool] = lambda _: False,
) -> None:
    """Check that tensors are all those of a network and no others.

    Args:
        state: name to tensor.
        expected: name to shape, of the network.
        source: what the weights should be, for the message.
        optional: tells the names of the network that may be missing.

    Raises:
        MismatchError: if tensors are unknown, missing or of another shape than expected; it lists the first of each.
    """
    problems = {
        "unknown": [name for name in state if name not in expected],
        "missing": [name for name in expected if name not in state and not optional(name)],
        "of another shape": [
            f"{name} {tuple(tensor.shape)} instead of {tuple(expected[name])}"
            for name, tensor in state.items()
            if name in expected and tensor.shape != expected[name]
        ],
    }
    found = [f"{len(names)} {kind}: {shorten(names)}" for kind, names in problems.items() if names]
    if found:
        message = f"these are not the weights of this network ({source}); {'; '.join(found)}"
        raise MismatchError(message, sum(map(len, problems.values())))


def prefixes(names: Mapping[str, Tensor], least: int = 1) -> list[str]:
    """List the prefixes that a network's names may stand under, the shortest first, beginning with "".

    Args:
        names: of the tensors of a file.
        least: how many of them a prefix must have.
    """
    counts: dict[str, int] = {}
    for name in names:
        for prefix in _prefixes(name):
            counts[prefix] = counts.get(prefix, 0) + 1
    return sorted((prefix for prefix, count in counts.items() if count >= least), key=lambda prefix: prefix.count("."))


def strip_prefix(state: Mapping[str, Tensor], fits: Callable[[str], bool]) -> tuple[dict[str, Tensor], list[str]]:
    """Take off the prefix under which most names are those of a network; where several are as good, the shortest.

    Args:
        state: name to tensor.
        fits: tells whether the network has a name.

    Returns:
        The tensors under the prefix, without it, and the names of those elsewhere. If no name fits, all is as it was.
    """
    scores = dict.fromkeys(prefixes(state), 0)
    for name in state:
        for prefix in _prefixes(name):
            scores[prefix] += fits(name.removeprefix(prefix))
    return under(state, max(scores, key=scores.__getitem__))


def under(state: Mapping[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors under a prefix, without it, and the names of those elsewhere."""
    inside = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    return inside, [name for name in state if not name.startswith(prefix)]


def _prefixes(name: str) -> Iterator[str]:
    yield ""
    parts = name.split(".")
    for length in range(1, min(_DEPTH, len(parts) - 1) + 1):
        yield ".".join(parts[:length]) + "."
