"""What a run was: the command that made it, and what it ran on."""

import importlib.metadata
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from detectron2.utils import comm

import catseg

_DISTRIBUTIONS = ("catseg", "detectron2", "torch", "torchvision", "timm", "open_clip_torch", "numpy", "pillow")
_VARIABLES = ("CATSEG_", "DETECTRON2_DATASETS")  # how names begin of environment variables that a run depends on


def command_line(arguments: Sequence[str] = ()) -> str:
    """Return the command that started this run, as a shell takes it, with the environment variables that matter.

    Args:
        arguments: program and words; by default those of this process.
    """
    program, *words = arguments or sys.argv
    settings = {name: value for name, value in sorted(os.environ.items()) if name.startswith(_VARIABLES)}
    before = [f"{name}={shlex.quote(value)}" for name, value in settings.items()]
    return " ".join([*before, shlex.join([*_program(Path(program)), *words])])


def device_name(device: str) -> str:
    """Return what MODEL.DEVICE is here: the GPU's name, or the kind of processor."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"CPU ({platform.machine()})" if device == "cpu" else device


def describe_device(device: str) -> str:
    """Return `device_name`, and in how many processes and threads the run uses it."""
    processes, threads = comm.get_world_size(), torch.get_num_threads()
    return f"{device_name(device)}, processes: {processes}" + f", threads: {threads}" * (device == "cpu")


def versions() -> dict[str, str]:
    """Return the versions of what a run depends on, by name; what is not installed as a package is left out."""
    found = {"Python": platform.python_version(), "platform": platform.platform()}
    if torch.version.cuda:
        found["CUDA"] = torch.version.cuda
    for name in _DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, "catseg": catseg.__version__, "torch": torch.__version__}


def _program(path: Path) -> list[str]:
    """Return how a program is started: a module of this package, another Python file, or a command by its name."""
    package = Path(catseg.__file__).parent
    if path.resolve().is_relative_to(package):
        module = path.resolve().relative_to(package.parent).with_suffix("")
        return ["python", "-m", ".".join(module.parts).removesuffix(".__main__")]
    return ["python", str(path)] if path.suffix == ".py" else [path.name]
