"""Stands in for Detectron2's compiled operators, which this installation does not have."""


class MissingOperatorError(AttributeError, RuntimeError):
    """A compiled operator was asked for."""


def get_compiler_version() -> str:
    """Return the compiler for Detectron2's report of the environment."""
    return "none: installed without compiled operators"


def get_cuda_version() -> str:
    """Return the CUDA compiler for Detectron2's report of the environment."""
    return "not available"


def has_cuda() -> bool:
    """Tell whether the operators were built for CUDA."""
    return False


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    raise MissingOperatorError(
        f"Detectron2's compiled operator {name!r} is missing: this is Detectron2's Python code alone. To have it, "
        "run 'pip uninstall detectron2' and build Detectron2 from its official sources."
    )
