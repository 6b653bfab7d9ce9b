"""The installer of Detectron2, tried on a small made-up source file in throw-away environments, without the network."""

import base64
import errno
import hashlib
import importlib.metadata
import inspect
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import venv
from pathlib import Path

import detectron2
import detectron2_distribution
import detectron2_stand_in
import install_detectron2
import pytest
from detectron2.utils.collect_env import collect_env_info

TOOLS = Path(install_detectron2.__file__).parent

SOURCES = {
    "LICENSE": "Apache License",
    "README.md": "not installed",
    "setup.py": "from setuptools import setup\nsetup(name='pb1-detectron2', version='0.6', packages=['detectron2'])\n",
    "detectron2/__init__.py": "__version__ = '0.6'\n",
    "detectron2/config.py": "",
    "detectron2/data.py": "old = 'np.bool np.bool_ np.float32 np.str Image.LINEAR Image.NEAREST'\n",
    "detectron2/engine.py": "import os, time\ntime.sleep(float(os.environ.get('SLOW_IMPORT', 0)))\n",
    "detectron2/evaluation.py": "",
    "detectron2/modeling.py": "from detectron2 import _C\n",
    "detectron2/model_zoo/configs/base.yaml": "np.bool: stays\n",
    "detectron2/projects/__init__.py": "",
    "projects/PointRend/point_rend/__init__.py": "name = 'point_rend'\n",
    "projects/Other/other/__init__.py": "not installed",
}


class Environment:
    """A virtual environment with pip, setuptools, the metadata of what Detectron2 needs, and nothing else.

    Its copy of the tools expects the hash of the made-up source file.
    """

    def __init__(self, folder: Path, sdist: Path) -> None:
        venv.create(folder / "venv")
        self.python = folder / "venv/bin/python"
        [self.site_packages] = (folder / "venv/lib").glob("python*/site-packages")
        ours = Path(str(importlib.metadata.distribution("pip").locate_file("")))
        for pattern in ("pip", "pip-*", "setuptools", "setuptools-*", "_distutils_hack"):
            for path in ours.glob(pattern):
                (self.site_packages / path.name).symlink_to(path)
        for requirement in detectron2_distribution.REQUIRES:
            if not requirement.startswith("setuptools"):
                self.pretend(requirement.split("<")[0].split(">")[0])
        self.tool = folder / "tools/install_detectron2.py"
        shutil.copytree(TOOLS, self.tool.parent, ignore=shutil.ignore_patterns("__pycache__"))
        constants = self.tool.with_name("detectron2_distribution.py")
        constants.write_text(constants.read_text().replace(detectron2_distribution.SHA256, sha256(sdist)))
        self.variables = {
            "PATH": os.environ["PATH"],
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_FIND_LINKS": str(sdist.parent),
            "PIP_NO_INDEX": "1",
        }

    def pretend(self, name: str) -> Path:
        """Make pip and the tool believe that a package is installed."""
        metadata = self.site_packages / f"{name.replace('-', '_')}-99.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 99\n")
        return metadata.parent

    def start(self, *words: object, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(word) for word in (self.python, *words)],
            env=self.variables | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: object, **variables: str) -> tuple[int, str]:
        """Exit status and all output of a Python command."""
        with self.start(*words, **variables) as process:
            out, err = process.communicate()
        return process.returncode, out + err

    def install(self, *arguments: object, **variables: str) -> tuple[int, str]:
        return self.run(self.tool, *arguments, **variables)

    def left_over(self) -> list[str]:
        """What of Detectron2 lies in site-packages."""
        return sorted(path.name for path in self.site_packages.glob("*detectron2*"))


INSTALLED = ["detectron2", "detectron2-0.6.dist-info"]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    for name, text in {**SOURCES, "PKG-INFO": "Metadata-Version: 2.1\nName: pb1-detectron2\nVersion: 0.6\n"}.items():
        path = folder / "pb1-detectron2-0.6" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    files = folder / "files"
    files.mkdir()
    with tarfile.open(files / "pb1-detectron2-0.6.tar.gz", "w:gz") as archive:
        archive.add(folder / "pb1-detectron2-0.6", "pb1-detectron2-0.6")
    return files / "pb1-detectron2-0.6.tar.gz"


@pytest.fixture
def environment(tmp_path, sdist):
    return Environment(tmp_path, sdist)


def test_installs_what_pip_downloads(environment):
    status, output = environment.install()
    assert (status, environment.left_over()) == (0, INSTALLED), output
    assert "installed into" in output
    code = "from detectron2.projects.point_rend import name; from detectron2.data import old; print(name, old)"
    assert environment.run("-c", code) == (0, "point_rend bool np.bool_ np.float32 str Image.BILINEAR Image.NEAREST\n")


def test_pip_lists_and_uninstalls_it(environment, sdist):
    environment.install("--sdist", sdist)
    listing = environment.run("-m", "pip", "list", "--format=freeze")[1]
    assert "detectron2==0.6" in listing.splitlines()
    status, output = environment.run("-m", "pip", "uninstall", "--yes", "detectron2")
    assert (status, environment.left_over()) == (0, []), output


def test_record_names_every_file_with_its_hash(environment, sdist):
    environment.install("--sdist", sdist)
    [distribution] = importlib.metadata.distributions(name="detectron2", path=[str(environment.site_packages)])
    recorded = {str(file): file for file in distribution.files}
    written = {
        path.relative_to(environment.site_packages).as_posix()
        for folder in INSTALLED
        for path in (environment.site_packages / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert set(recorded) == written
    assert "detectron2-0.6.dist-info/licenses/LICENSE" in written
    assert "detectron2/model_zoo/configs/base.yaml" in written
    assert not [name for name in written if "README" in name or "other" in name or "setup" in name]
    for name, file in recorded.items():
        if not name.endswith("RECORD"):
            digest = hashlib.sha256(file.locate().read_bytes()).digest()
            assert base64.urlsafe_b64decode(file.hash.value + "=") == digest


def test_second_run_changes_nothing(environment, sdist):
    environment.install("--sdist", sdist)
    marker = environment.site_packages / "detectron2" / "marker"
    marker.touch()
    status, output = environment.install("--sdist", sdist)
    assert status == 0
    assert "Detectron2 0.6 already imports" in output
    assert marker.exists()


def test_source_build_elsewhere_is_left_alone(environment, tmp_path, sdist):
    checkout = tmp_path / "checkout"
    with tarfile.open(sdist) as archive:
        archive.extractall(checkout, filter="data")
    (checkout / "pb1-detectron2-0.6/detectron2/_C.py").touch()
    (environment.site_packages / "detectron2-editable.pth").write_text(str(checkout / "pb1-detectron2-0.6"))
    status, output = environment.install("--sdist", sdist)
    assert status == 0
    assert "already imports" in output
    assert str(checkout) in output
    assert environment.left_over() == ["detectron2-editable.pth"]


def test_broken_one_is_replaced_only_when_forced(environment, sdist):
    package = environment.site_packages / "detectron2"
    package.mkdir()
    (package / "__init__.py").write_text("import no_such_module\n")
    status, output = environment.install("--sdist", sdist)
    assert status == 1
    assert "does not import" in output
    assert "no_such_module" in output
    assert "--force" in output
    assert "Traceback" not in output
    for _ in range(2):  # the second time over one that pip knows
        status, output = environment.install("--sdist", sdist, "--force")
        assert (status, environment.left_over()) == (0, INSTALLED), output


@pytest.mark.parametrize(("signal_number", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_interrupted_run_leaves_nothing_that_imports(environment, sdist, signal_number, status):
    process = environment.start(environment.tool, "--sdist", sdist, SLOW_IMPORT="60")
    deadline = time.monotonic() + 30
    while not list(environment.site_packages.glob(".detectron2-staging-*/new/detectron2-0.6.dist-info/RECORD")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal_number)
    process.communicate()
    assert process.returncode == status
    assert not set(INSTALLED) & set(environment.left_over())
    status, output = environment.install("--sdist", sdist)
    assert (status, environment.left_over()) == (0, INSTALLED), output


def test_run_that_stopped_before_the_last_rename_is_taken_up(environment, sdist):
    environment.install("--sdist", sdist)
    shutil.rmtree(environment.site_packages / "detectron2")
    status, output = environment.install("--sdist", sdist)
    assert (status, environment.left_over()) == (0, INSTALLED), output


def test_wrong_file_is_refused(environment, tmp_path):
    wrong = tmp_path / "pb1-detectron2-0.6.tar.gz"
    wrong.write_bytes(b"something else")
    for arguments, variables in [(["--sdist", wrong], {}), ([], {"PIP_FIND_LINKS": str(tmp_path)})]:
        status, output = environment.install(*arguments, **variables)
        assert status == 1
        assert "not the" in output
        assert sha256(wrong) in output
        assert "Traceback" not in output
        assert environment.left_over() == []


def test_failed_download_is_explained(environment, tmp_path):
    status, output = environment.install(PIP_FIND_LINKS=str(tmp_path))
    assert status == 1
    assert "pb1-detectron2==0.6" in output
    assert "--sdist" in output
    assert "Traceback" not in output
    assert environment.left_over() == []


def test_another_pip_is_not_trusted_with_the_download(environment):
    for path in environment.site_packages.glob("pip-*"):
        path.unlink()
    environment.pretend("pip")
    status, output = environment.install()
    assert status == 1
    assert f"pip=={install_detectron2.PIP_VERSION}" in output  # it asked for the pinned one, which is not to be had


def test_environment_without_pip_is_explained(environment):
    for path in environment.site_packages.glob("pip*"):
        path.unlink()
    status, output = environment.install()
    assert status == 1
    assert "ensurepip" in output


def test_missing_requirement_is_named(environment, sdist):
    shutil.rmtree(environment.site_packages / "fvcore-99.dist-info")
    status, output = environment.install("--sdist", sdist)
    assert status == 1
    assert "fvcore" in output
    assert "requirements.lock" in output


def test_missing_file_is_named(environment, tmp_path):
    status, output = environment.install("--sdist", tmp_path / "nowhere.tar.gz")
    assert status == 1
    assert "there is no file" in output
    assert "nowhere.tar.gz" in output


@pytest.mark.parametrize(
    ("code", "explanation"),
    [(errno.ENOSPC, "disk is full"), (errno.EACCES, "virtual environment"), (errno.EIO, "Input/output error")],
)
def test_system_errors_are_explained(monkeypatch, capsys, code, explanation):
    def fail(**_):
        raise OSError(code, os.strerror(code), "/some/folder")

    monkeypatch.setattr(install_detectron2, "run", fail)
    assert install_detectron2.main([]) == 1
    message = capsys.readouterr().err
    assert explanation in message
    assert "/some/folder" in message


def test_help_says_what_it_does(capsys):
    with pytest.raises(SystemExit, match="0"):
        install_detectron2.main(["--help"])
    assert "without a compiler" in capsys.readouterr().out


class TestStandIn:
    def test_operator_is_named(self):
        with pytest.raises(RuntimeError, match="compiled operator 'deform_conv_forward' is missing"):
            _ = detectron2_stand_in.deform_conv_forward

    def test_looks_like_a_module_to_python(self):
        assert not hasattr(detectron2_stand_in, "some_operator")
        assert not hasattr(detectron2_stand_in, "__path__")
        assert "MissingOperatorError" in dict(inspect.getmembers(detectron2_stand_in))

    def test_detectron2_reports_the_environment_with_it(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "detectron2._C", detectron2_stand_in)
        monkeypatch.setattr(detectron2, "_C", detectron2_stand_in, raising=False)
        assert "installed without compiled operators" in collect_env_info()
