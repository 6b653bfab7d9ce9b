"""What an installed catseg has without a checkout."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from catseg.config import load_config, shipped_config
from catseg.errors import InputError

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("catseg_v2_large", "catseg_v2_large.yaml"),
        ("catseg_v2_large.yaml", "catseg_v2_large.yaml"),
        ("backbones/catseg_van_b0_ade150", "backbones/catseg_van_b0_ade150.yaml"),
    ],
)
def test_shipped_configs_are_found_by_name(name, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped_config(name).samefile(ROOT / "configs" / file)
    assert load_config(shipped_config(name)) == load_config(ROOT / "configs" / file)


@pytest.mark.parametrize(("name", "hint"), [("catseg_v2_lage", "did you mean catseg_v2_large"), ("", "there are ")])
def test_a_config_that_does_not_exist_is_an_error_that_lists_close_ones(name, hint):
    with pytest.raises(InputError, match=f"no config '{name}' comes with catseg; {hint}"):
        shipped_config(name)


@pytest.mark.slow
def test_the_wheel_holds_the_configs(tmp_path):
    source = tmp_path / "source"  # building leaves files beside the source
    shutil.copytree(ROOT / "catseg", source / "catseg", symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "configs", source / "configs")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path]
    command = [sys.executable, "-m", "pip", "wheel", *options, source]
    subprocess.run(command, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    expected = {path.relative_to(ROOT / "configs").as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    held = {name.removeprefix("catseg/configs/") for name in names if name.startswith("catseg/configs/")}
    assert held == expected
