"""Integrations are examples as well: short, and by what `import catseg` offers alone."""

import ast

import pytest

import catseg
from tests.integrations.conftest import FOLDER

FILES = sorted(FOLDER.rglob("*.py"))


def test_there_is_one_for_each_tool():
    assert {file.parent.name for file in FILES} == {"cvat", "fiftyone", "label_studio", "x_anylabeling"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_short_and_public(file):
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") < 150
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("catseg.") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("catseg")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "catseg":
            assert node.attr in catseg.__all__


@pytest.mark.parametrize("name", catseg.__all__)
def test_what_is_public_is_there(name):
    assert getattr(catseg, name) is not None
