"""What `catseg doctor` looks at. Each check gives findings; none raises, and none changes anything."""

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from catseg import __version__
from catseg.atomic import cache_folder

OK, WARNING, PROBLEM = "ok", "warning", "problem"
_OPTIONAL = {
    "gradio": "catseg app",
    "shtab": "completes commands in the shell",
    "pillow-heif": "reads HEIC photographs",
    "supervision": "Result.to_supervision",
    "wandb": "logs trainings to Weights & Biases",
}
_LITTLE_SPACE = 2 * 1024**3  # bytes, less than a published model takes


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        topic: what was looked at.
        state: "ok", "warning" or "problem".
        found: what it is.
        mend: what to do; "" for nothing.
    """

    topic: str
    state: str
    found: str
    mend: str = ""


def check_all() -> Iterator[Finding]:
    """Yield the findings of all checks, the quick ones first."""
    yield Finding("system", OK, f"Python {platform.python_version()} on {platform.platform()}, {sys.executable}")
    yield Finding("catseg", OK, f"{__version__}, {Path(__file__).parents[1]}")
    yield from check_packages()
    yield check_detectron2()
    yield check_ffmpeg()
    yield from check_folders()
    yield from check_devices()


def check_packages() -> Iterator[Finding]:
    """Look for every package that catseg needs, in the version that it needs, and for those that it can use."""
    try:
        needed = metadata.requires("catseg") or []
    except metadata.PackageNotFoundError:
        yield Finding("packages", WARNING, "catseg is not installed, it runs from its folder", "pip install -e .")
        return
    from packaging.requirements import Requirement

    requirements = [Requirement(line) for line in needed]
    core = [item for item in requirements if item.marker is None or item.marker.evaluate({"extra": ""})]
    fits = 0
    for requirement in core:
        version = _version(requirement.name)
        if version is not None and requirement.specifier.contains(version, prereleases=True):
            fits += 1
            continue
        yield Finding(
            requirement.name,
            PROBLEM,
            f"{'not installed' if version is None else version}, but {requirement} is needed",
            f'pip install "{requirement}"',
        )
    yield Finding(
        "packages", OK, f"{fits} of {len(core)} needed packages fit, {_listed(['torch', 'torchvision', 'timm'])}"
    )
    for name, use in _OPTIONAL.items():
        version = _version(name)
        yield Finding(name, OK, f"{version or 'not installed'} (optional: {use})")


def check_detectron2() -> Finding:
    """Import Detectron2, which has no release on the package registry."""
    how = "install it as the README says: python tools/install_detectron2.py, from a checkout of catseg"
    if importlib.util.find_spec("detectron2") is None:
        return Finding("detectron2", PROBLEM, "not installed", how)
    try:
        import detectron2.config
        import detectron2.modeling
    except Exception as error:  # whatever is wrong with it
        return Finding("detectron2", PROBLEM, f"cannot be imported: {type(error).__name__}: {error}", how)
    return Finding("detectron2", OK, f"{detectron2.__version__}, {Path(detectron2.__file__).parent}")


def check_ffmpeg() -> Finding:
    """Look for ffmpeg, which videos keep their codec and sound by."""
    program = shutil.which("ffmpeg")
    if program is None:
        return Finding(
            "ffmpeg", WARNING, "not found: videos lose their sound and may change their codec", "install ffmpeg"
        )
    return Finding("ffmpeg", OK, program)


def check_folders() -> Iterator[Finding]:
    """Tell where caches are and how large they are, and whether they can be written."""
    for name, what in (("weights", "published weights"), ("text", "encoded class names"), ("models", "trained models")):
        folder = cache_folder(name)
        yield Finding(f"cache of {what}", OK, f"{_size(folder)} in {folder}")
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or "~/.cache/huggingface") / "hub")
    yield Finding("cache of the Hugging Face hub", OK, f"{_size(hub.expanduser())} in {hub.expanduser()}")
    folder = cache_folder("")
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(there, os.W_OK):
        mend = "make it writable, or name another folder by CATSEG_CACHE"
        yield Finding("cache folder", PROBLEM, f"{there} cannot be written", mend)
        return
    free = shutil.disk_usage(there).free
    state = OK if free > _LITTLE_SPACE else WARNING
    mend = "" if state == OK else "make room, or name another folder by CATSEG_CACHE"
    yield Finding("cache folder", state, f"{folder}, {_bytes(free)} free", mend)


def check_devices() -> Iterator[Finding]:
    """Look for devices, and run the self-test on each."""
    try:
        import torch
    except Exception as error:
        yield Finding("torch", PROBLEM, f"cannot be imported: {type(error).__name__}: {error}", "pip install torch")
        return
    devices = {"cpu": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"}
    for number in range(torch.cuda.device_count()):
        devices[f"cuda:{number}"] = torch.cuda.get_device_name(number)
    if torch.backends.mps.is_available():
        devices["mps"] = "Apple GPU"
    if len(devices) == 1:
        yield _no_gpu(torch.version.cuda)
    for device, name in devices.items():
        yield Finding(f"device {device}", OK, name)
        yield check_device(device)


def check_device(device: str) -> Finding:
    """Segment one image with a network of fixed weights, and compare with stored probabilities."""
    topic = f"self-test on {device}"
    try:
        from catseg.cli.self_test import TOLERANCE, largest_error

        error = largest_error(device)
    except Exception as failure:  # whatever is wrong with it
        return Finding(
            topic,
            PROBLEM,
            f"{type(failure).__name__}: {failure}",
            "see what is wrong above; if all is well, report this",
        )
    if not error <= TOLERANCE:
        mend = "update torch and the driver, or use another device by --device; if that does not help, report this"
        return Finding(topic, PROBLEM, f"probabilities are off by {error:.1e}, {TOLERANCE:.0e} is allowed", mend)
    return Finding(topic, OK, f"probabilities agree within {error:.1e}")


def _no_gpu(cuda: str | None) -> Finding:
    if shutil.which("nvidia-smi") is None:
        return Finding("GPU", OK, "none: the CPU is used")
    if cuda is None:
        mend = "install a torch for CUDA: https://pytorch.org/get-started/locally"
        return Finding("GPU", WARNING, "there is an NVIDIA driver, but torch is built without CUDA", mend)
    return Finding(
        "GPU", WARNING, "there is an NVIDIA driver, but torch sees no GPU", f"update the driver for CUDA {cuda}"
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{name} {_version(name) or 'missing'}" for name in names)


def _size(folder: Path) -> str:
    if not folder.is_dir():
        return "nothing"
    return _bytes(sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()))


def _bytes(number: float) -> str:
    units = ["B", "KiB", "MiB", "GiB"]
    while number >= 1024 and len(units) > 1:
        number, units = number / 1024, units[1:]
    return f"{number:.0f} {units[0]}" if number >= 10 or units[0] == "B" else f"{number:.1f} {units[0]}"
