"""The commands in datasets/, from the original files to records that Detectron2 loads."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catseg.data.dataset_specs import ADE20K_150, COCO_STUFF_171
from catseg.data.registration import load_records
from tests.miniature import make_miniature_ade20k, make_miniature_coco_stuff

COMMANDS = Path(__file__).parents[2] / "datasets"


def load_command(name):
    specification = importlib.util.spec_from_file_location(name, COMMANDS / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_label_rule_of_ade20k():
    rule = load_command("prepare_ade20k_150").CLASS_OF_VALUE
    assert {value: (value - 1) % 256 for value in range(151)} == rule


def test_label_rule_of_coco_stuff():
    rule = load_command("prepare_coco_stuff").CLASS_OF_VALUE
    classes = COCO_STUFF_171[0].classes
    assert sorted(rule) == list(range(256))
    used = [value for value in rule if rule[value] != 255]
    assert [rule[value] for value in used] == list(range(171))
    # COCO's category numbers less one: person 1, stop sign 13, chair 62, toothbrush 90; stuff: banner 92, wood 182.
    named = {0: "person", 12: "stop sign", 61: "chair", 89: "toothbrush", 91: "banner", 181: "wood"}
    assert {value: classes[rule[value]] for value in named} == named
    assert 11 not in used
    assert 182 not in used


@pytest.mark.parametrize(
    ("command", "make", "specs"),
    [
        ("prepare_ade20k_150", make_miniature_ade20k, ADE20K_150),
        ("prepare_coco_stuff", make_miniature_coco_stuff, COCO_STUFF_171),
    ],
)
def test_from_original_files_to_records(tmp_path, command, make, specs):
    make(tmp_path, 2)
    script = [sys.executable, str(COMMANDS / f"{command}.py"), "--root", str(tmp_path), "--subset"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rule = load_command(command).CLASS_OF_VALUE
    for spec in specs:
        records = load_records(spec, tmp_path)
        assert len(records) == 2
        for record in records:
            path = Path(record["sem_seg_file_name"])
            source = np.asarray(Image.open(tmp_path / spec.source_label_dir / path.name))
            np.testing.assert_array_equal(np.asarray(Image.open(path)), np.vectorize(rule.get)(source))
            assert Image.open(record["file_name"]).size == Image.open(path).size


@pytest.mark.parametrize("command", ["prepare_ade20k_150", "prepare_coco_stuff"])
def test_help_shows_the_folders(command, capsys, monkeypatch):
    module = load_command(command)
    with pytest.raises(SystemExit) as error:
        module.main(module.__doc__, ADE20K_150, {}, ["--help"])
    assert error.value.code == 0
    shown = capsys.readouterr().out
    assert "annotations_detectron2" in shown
    assert "--root" in shown
