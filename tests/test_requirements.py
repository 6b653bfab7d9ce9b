"""requirements.lock holds what pyproject.toml asks for, in exact versions."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


@pytest.mark.parametrize("extra", [None, *project()["optional-dependencies"]])
def test_lock_satisfies_the_ranges(extra):
    wanted = project()["optional-dependencies"][extra] if extra else project()["dependencies"]
    for requirement in map(Requirement, wanted):
        if requirement.name != project()["name"]:
            [version] = locked()[canonicalize_name(requirement.name)].specifier
            assert requirement.specifier.contains(version.version), requirement


def test_every_version_is_exact():
    assert [str(requirement) for requirement in locked().values() if not exact(requirement)] == []


def exact(requirement: Requirement) -> bool:
    return re.fullmatch(r"==[\w.]+", str(requirement.specifier)) is not None


def test_packages_of_one_platform_are_marked():
    marked = {name for name, requirement in locked().items() if requirement.marker}
    assert marked == {name for name in locked() if name.startswith(("cuda-", "nvidia-", "triton"))}
    assert {str(locked()[name].marker) for name in marked} == {'platform_system == "Linux"'}
