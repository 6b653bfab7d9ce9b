"""Published weights, renamed to this project's names: pure functions from state dict to state dict.

A table says how tensors are renamed, which ones a published file holds but the network does not need, and which ones
the network has but the file need not hold. Everything else that is unknown, missing or of another shape is an error.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from catseg.weight_files.fitting import check_fit


@dataclass(frozen=True)
class RenameTable:
    """How the tensors of a published file become ours. All patterns are regular expressions, matched from the start.

    Attributes:
        source: what the table is for, for error messages.
        renames: pattern and replacement; each name goes through all of them in turn.
        dropped: published names without a counterpart.
        optional: our names that may be missing; they keep their initial values.
    """

    source: str
    renames: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def rename(self, name: str) -> str:
        """Our name for the published `name`."""
        for pattern, replacement in self.renames:
            name = re.sub(rf"\A(?:{pattern})", replacement, name)
        return name

    def convert(self, state: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> dict[str, Tensor]:
        """Rename the tensors of a published file.

        Args:
            state: published name to tensor.
            expected: our name to shape, for every tensor that the network has.

        Returns:
            Our name to tensor: all of `expected` but what the table calls optional and the file lacks.

        Raises:
            ValueError: if tensors are unknown, missing or of another shape than expected; it lists them.
        """
        kept = (name for name in state if not _matches(name, self.dropped))
        converted = {self.rename(name): state[name] for name in kept}
        check_fit(converted, expected, source=self.source, optional=lambda name: _matches(name, self.optional))
        return converted


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)
