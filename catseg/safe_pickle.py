"""Pickles of plain values and NumPy arrays, read without running any code that they may hold."""

import codecs
import collections
import pickle
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from catseg.errors import InputError

# Everything else that a pickle may ask for is refused. NumPy's internals moved between its versions 1 and 2.
_MAKE_ARRAY, MAKE_SCALAR = np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0]
_FROM_BUFFER = np.zeros(1).__reduce_ex__(5)[0]
_ARRAYS: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): codecs.encode,  # bytes, in the protocol of Python 2
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    **{
        (f"{core}.{module}", name): function
        for core in ("numpy.core", "numpy._core")
        for module, name, function in (
            ("multiarray", "_reconstruct", _MAKE_ARRAY),
            ("multiarray", "scalar", MAKE_SCALAR),
            ("numeric", "_frombuffer", _FROM_BUFFER),
        )
    },
}


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles containers of plain values and arrays, and nothing that runs code.

    Attributes:
        allowed: all that a pickle may ask for, by module and name.
    """

    allowed: ClassVar[Mapping[tuple[str, str], Any]] = MappingProxyType(_ARRAYS)

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle asks for, if it is allowed.

        Raises:
            pickle.UnpicklingError: if it is something else.
        """
        try:
            return self.allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is more than data") from None


def load_pickle(path: Path) -> Any:
    """Read a pickle of plain values and arrays.

    Args:
        path: a file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged or holds other things, which are not made.
    """
    with path.open("rb") as file:
        try:
            return ArrayUnpickler(file).load()
        except Exception as error:  # damaged pickles raise exceptions of many kinds
            raise InputError(
                f"{path} is damaged, or holds more than plain values and arrays and was not read because that could "
                f"run code: {error!r}"
            ) from error
