"""requirements.lock holds what pyproject.toml asks for, in exact versions."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
# pyproject.toml says why of the first; the second is used where it is there; the last is gradio's own server.
NOT_NAMED = {"detectron2", "supervision", "starlette"}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked(*more: str) -> dict[str, Requirement]:
    """What requirements.lock holds, and other files in its place, by name."""
    lines = [line for name in ("requirements.lock", *more) for line in (ROOT / name).read_text().splitlines()]
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


@pytest.mark.parametrize("extra", [None, *project()["optional-dependencies"]])
def test_lock_satisfies_the_ranges(extra):
    wanted = project()["optional-dependencies"][extra] if extra else project()["dependencies"]
    versions = locked("requirements-app.lock") if extra in ("app", "test-app") else locked()
    for requirement in map(Requirement, wanted):
        if requirement.name != project()["name"]:
            [version] = versions[canonicalize_name(requirement.name)].specifier
            assert requirement.specifier.contains(version.version), requirement


def imported(folder: Path) -> set[str]:
    """What the modules below a folder import from outside the standard library and this project, by top-level name."""
    statements = [node for path in folder.rglob("*.py") for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    names = {alias.name for node in statements if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in statements if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"catseg"}


def test_what_is_imported_is_declared():
    declared = {canonicalize_name(Requirement(wanted).name) for wanted in project()["dependencies"]}
    extras = project()["optional-dependencies"]
    optional = {Requirement(wanted).name for extra in extras.keys() - {"test", "dev"} for wanted in extras[extra]}
    distributions = packages_distributions()
    undeclared = {
        name
        for name in imported(ROOT / "catseg") - NOT_NAMED - optional
        if declared.isdisjoint(map(canonicalize_name, distributions[name]))
    }
    assert undeclared == set()


def test_every_version_is_exact():
    for versions in (locked(), locked("requirements-app.lock")):
        assert [str(requirement) for requirement in versions.values() if not exact(requirement)] == []


def exact(requirement: Requirement) -> bool:
    return re.fullmatch(r"==[\w.]+", str(requirement.specifier)) is not None


def test_packages_of_one_platform_are_marked():
    marked = {name for name, requirement in locked().items() if requirement.marker}
    assert marked == {name for name in locked() if name.startswith(("cuda-", "nvidia-", "triton"))}
    assert {str(locked()[name].marker) for name in marked} == {'platform_system == "Linux"'}


def test_the_lowest_versions_are_those_of_the_ranges():
    lines = (ROOT / "requirements-lowest.txt").read_text().splitlines()
    pinned = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines if not line.startswith("#")}
    for requirement in map(Requirement, [*project()["dependencies"], *project()["optional-dependencies"]["test"]]):
        [low] = [s.version for s in requirement.specifier if s.operator == ">="] or [None]
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement
        assert low is None or version == low or version.startswith(f"{low}."), requirement
