"""Turns the `pb1-detectron2` source file into the files of an installed distribution `detectron2`."""

import base64
import hashlib
import re
import tarfile
from pathlib import Path, PurePosixPath

VERSION = "0.6"
REQUIREMENT = f"pb1-detectron2=={VERSION}"
SHA256 = "5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29"
DIST_INFO = f"detectron2-{VERSION}.dist-info"

PROJECTS = {"point_rend", "deeplab", "panoptic_deeplab"}  # the release installs them below detectron2.projects
# What Detectron2's own setup asks for, less what it runs without here (black, future, pydot) and its outdated bounds.
REQUIRES = (
    "cloudpickle", "fvcore<0.1.6,>=0.1.5", "hydra-core>=1.1", "iopath>=0.1.7", "matplotlib", "numpy", "omegaconf>=2.1",
    "pillow>=7.1", "pycocotools>=2.0.2", "setuptools<81", "tabulate", "tensorboard", "termcolor>=1.1", "torch",
    "torchvision", "tqdm>4.29.0", "yacs>=0.1.8",
)  # fmt: skip

RENAMED = re.compile(r"\bnp\.(bool|int|float|object|str)\b|\bImage\.LINEAR\b")

METADATA = f"""Metadata-Version: 2.4
Name: detectron2
Version: {VERSION}
Summary: Detectron2's Python code, without its compiled operators, brought to today's NumPy and Pillow
Author: FAIR
License-Expression: Apache-2.0
License-File: LICENSE
Project-URL: Source, https://github.com/facebookresearch/detectron2
Requires-Python: >=3.11
{chr(10).join(f"Requires-Dist: {requirement}" for requirement in REQUIRES)}

Installed by CAT-Seg's tools/install_detectron2.py from {REQUIREMENT}
(sha256 {SHA256}).
"""

STAND_IN = Path(__file__).with_name("detectron2_stand_in.py")
WHEEL = "Wheel-Version: 1.0\nGenerator: catseg-install-detectron2\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def read_sources(sdist: Path) -> dict[str, bytes]:
    """The files to install, brought to today's NumPy and Pillow: path below site-packages -> content."""
    files: dict[str, bytes] = {}
    with tarfile.open(sdist) as archive:
        for member in archive:
            target = _target(PurePosixPath(member.name).parts[1:])
            stream = archive.extractfile(member) if target and member.isfile() else None
            if target and stream is not None:
                files[target] = stream.read()
    for name in files:
        if name.endswith(".py"):
            files[name] = modernise(files[name].decode()).encode()
    files["detectron2/_C.py"] = STAND_IN.read_bytes()
    return files


def modernise(source: str) -> str:
    """Rename what NumPy and Pillow have removed since Detectron2 0.6: nothing else needs a change."""
    return RENAMED.sub(lambda match: match[1] or "Image.BILINEAR", source)


def write_distribution(files: dict[str, bytes], folder: Path) -> None:
    """Write `files` and the metadata of a wheel's installation below `folder`."""
    files = files | {
        f"{DIST_INFO}/METADATA": METADATA.encode(),
        f"{DIST_INFO}/WHEEL": WHEEL.encode(),
        f"{DIST_INFO}/INSTALLER": b"catseg-install-detectron2\n",
        f"{DIST_INFO}/top_level.txt": b"detectron2\n",
    }
    record = [f"{name},sha256={_record_hash(data)},{len(data)}" for name, data in sorted(files.items())]
    files[f"{DIST_INFO}/RECORD"] = "\n".join([*record, f"{DIST_INFO}/RECORD,,", ""]).encode()
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _target(parts: tuple[str, ...]) -> str | None:
    """Map a file of the archive to its place below site-packages; None if it is not installed."""
    if parts == ("LICENSE",):
        return f"{DIST_INFO}/licenses/LICENSE"
    if parts[:1] == ("detectron2",):
        return "/".join(parts)
    if len(parts) > 3 and parts[0] == "projects" and parts[2] in PROJECTS:
        return "/".join(["detectron2/projects", *parts[2:]])
    return None


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
