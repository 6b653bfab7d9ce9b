"""Install Detectron2 0.6 into this Python's site-packages, without a compiler.

Detectron2 has no release of its own on the package registry. `pb1-detectron2` there holds the Python code of
Detectron2's v0.6 release, unchanged but without the C++ sources, so that `pip install` of it fails. This script has
pip download that file, checks its hash, renames what today's NumPy and Pillow no longer have, puts a stand-in in the
place of the compiled operators (its every use is an error that names the operator; CAT-Seg uses none of them), and
installs the result as the distribution `detectron2`, which `pip list` and `pip uninstall` know.

A Detectron2 that already imports, such as an official source build, is left alone. The new files are built and
tried in a folder beside the old ones and come into place by a rename: interrupted at any moment, the script
leaves nothing that imports half, and can be run again.
"""

import argparse
import errno
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from detectron2_distribution import DIST_INFO, REQUIREMENT, REQUIRES, SHA256, VERSION, read_sources, write_distribution

PIP_VERSION = "26.2"  # 26.3 refuses the metadata of the file
STAGING_PREFIX = ".detectron2-staging-"
PROBE = """
import importlib.util, json
spec = importlib.util.find_spec("detectron2")
if spec is None or spec.origin is None:
    print(json.dumps({"state": "absent"}))
else:
    report = {"state": "works", "location": spec.origin}
    try:
        import detectron2.config, detectron2.data, detectron2.engine, detectron2.evaluation, detectron2.modeling
        report["version"] = detectron2.__version__
    except Exception as error:
        report |= {"state": "broken", "error": f"{type(error).__name__}: {error}"}
    print(json.dumps(report))
"""


class InstallError(RuntimeError):
    """Why Detectron2 cannot be installed, and what to do about it."""


@dataclass(frozen=True)
class Probe:
    """Result of importing Detectron2 in a fresh Python.

    `state` is "absent", "works" or "broken"; `error` is set when it is broken, `version` when it works.
    """

    state: str
    location: str = ""
    version: str = ""
    error: str = ""


def probe(path: Path | None = None) -> Probe:
    """Import Detectron2 in a fresh Python, with the folder `path` searched first if it is given."""
    env = dict(os.environ)
    if path is not None:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(path), env.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory() as empty_folder:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PROBE], cwd=empty_folder, env=env, capture_output=True, text=True
        )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return Probe("broken", error=_last_lines(done.stderr) or f"Python ended with status {done.returncode}")
    return Probe(**json.loads(lines[-1]))


def download(folder: Path) -> Path:
    """Have the pinned pip download the source file into `folder`.

    Returns:
        The file.

    Raises:
        InstallError: if pip cannot download it, or finds another hash than the expected one.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{REQUIREMENT} --hash=sha256:{SHA256}\n")
    files = folder / "files"
    # With a hash in the requirements pip checks it before it runs anything that is in the file.
    options = ["--no-deps", "--no-build-isolation", "--no-binary", ":all:"]
    _pip(["download", *options, "-d", str(files), "-r", str(requirements)], env=_pinned_pip(folder / "pip"))
    found = sorted(files.glob("*.tar.gz"))
    if len(found) != 1:
        raise InstallError(f"pip downloaded {[file.name for file in found]}, expected one .tar.gz file")
    return found[0]


def check_hash(sdist: Path) -> None:
    """Raise `InstallError` unless `sdist` is the expected file, to the byte."""
    if not sdist.is_file():
        raise InstallError(f"there is no file {sdist}")
    found = hashlib.sha256(sdist.read_bytes()).hexdigest()
    if found != SHA256:
        raise InstallError(f"{sdist} has sha256 {found}, expected {SHA256}: not the {REQUIREMENT} that was checked")


def install(sdist: Path | None, site_packages: Path) -> None:
    """Put Detectron2 into `site_packages`, in the place of any that is there.

    Args:
        sdist: the source file; None downloads it.
        site_packages: the folder that Python imports from.

    Raises:
        InstallError: if the file cannot be had, is not the expected one, or does not import on this Python.
    """
    with _staging(site_packages) as staging:
        source = sdist or download(staging / "download")
        check_hash(source)
        new = staging / "new"
        write_distribution(read_sources(source), new)
        result = probe(new)
        if result.state != "works":
            raise InstallError(f"Detectron2 {VERSION} does not import here: {result.error or result.state}")
        _replace(new, site_packages, staging / "old")


def run(*, force: bool, sdist: Path | None) -> str:
    """Install Detectron2 unless one is there; returns what was done, in a sentence."""
    found = probe()
    if found.state == "works" and not force:
        return f"Detectron2 {found.version} already imports ({found.location}): left alone"
    if found.state == "broken" and not force:
        raise InstallError(
            f"a Detectron2 is installed{f' ({found.location})' if found.location else ''} but does not import: "
            f"{found.error}\nRepair it, or run again with --force to replace it."
        )
    missing = [requirement for requirement in REQUIRES if not _is_installed(re.split("[<>]", requirement)[0])]
    if missing:
        raise InstallError(
            f"Detectron2 needs these packages, which {sys.executable} does not have: {', '.join(missing)}\n"
            "Install them first: pip install -r requirements.lock"
        )
    site_packages = Path(sysconfig.get_paths()["purelib"])
    install(sdist, site_packages)
    return f"Detectron2 {VERSION} installed into {site_packages}, without compiled operators"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--force", action="store_true", help="replace a Detectron2 that is already there")
    parser.add_argument("--sdist", type=Path, metavar="FILE", help=f"use this {REQUIREMENT} file, download nothing")
    options = parser.parse_args(arguments)
    try:
        sys.stdout.write(f"{run(force=options.force, sdist=options.sdist)}\n")
    except InstallError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(_explain(error))
    except KeyboardInterrupt:
        return _fail("interrupted: run it again", status=130)
    return 0


@contextmanager
def _staging(site_packages: Path) -> Iterator[Path]:
    """A folder beside the packages, so that a rename brings its contents into place; removed afterwards."""
    for left_over in site_packages.glob(f"{STAGING_PREFIX}*"):  # of a run that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=site_packages))
    try:
        for name in ("download", "old"):
            (staging / name).mkdir()
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _replace(new: Path, site_packages: Path, old: Path) -> None:
    """Move the old distribution out and the new one in; the package itself comes last."""
    if _is_installed("detectron2"):
        _pip(["uninstall", "--yes", "detectron2"], env=dict(os.environ))
    for name in ("detectron2", DIST_INFO):
        if (site_packages / name).exists():
            (site_packages / name).rename(old / name)
    for name in (DIST_INFO, "detectron2"):
        (new / name).rename(site_packages / name)


def _is_installed(name: str) -> bool:
    return any(True for _ in importlib.metadata.distributions(name=name))


def _pinned_pip(folder: Path) -> dict[str, str]:
    """The environment in which `python -m pip` is the pinned pip, fetched into `folder` if need be."""
    env = dict(os.environ)
    if not _is_installed("pip"):
        raise InstallError(f"{sys.executable} has no pip: run 'python -m ensurepip' first")
    if importlib.metadata.version("pip") != PIP_VERSION:
        _pip(["install", "--no-deps", "--target", str(folder), f"pip=={PIP_VERSION}"], env=env)
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), env.get("PYTHONPATH")]))
    return env


def _pip(arguments: Sequence[str], env: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet", *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode == 0:
        return
    if "DO NOT MATCH THE HASHES" in done.stderr:
        raise InstallError(f"the {REQUIREMENT} that pip found is not the one that was checked:\n{done.stderr.strip()}")
    raise InstallError(
        f"'pip {' '.join(arguments)}' failed. Without a network, pass the downloaded file with --sdist. "
        f"pip said:\n{_last_lines(done.stderr)}"
    )


def _last_lines(text: str, count: int = 20) -> str:
    return "\n".join(text.strip().splitlines()[-count:])


def _explain(error: OSError) -> str:
    place = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"the disk is full{place}: free some space and run it again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission to write into {sys.prefix}{place}: use a virtual environment, as 'make install' does"
    return f"{error}"


def _fail(message: str, status: int = 1) -> int:
    sys.stderr.write(f"error: {message}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
