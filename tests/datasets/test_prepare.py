"""The commands in datasets/, from the original files to scores."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from catseg.data.dataset_specs import (
    ADE20K_150,
    ADE20K_847,
    BENCHMARKS,
    COCO_STUFF_171,
    PASCAL_CONTEXT_59,
    PASCAL_CONTEXT_459,
    PASCAL_VOC_20,
    PASCAL_VOC_20B,
)
from catseg.data.preparation.mapped import ade20k_150, coco_stuff
from catseg.data.registration import load_records, register_datasets
from catseg.evaluation.sem_seg_evaluator import SemSegEvaluator
from catseg.label_io import read_label_map
from tests.miniature import make_miniature_ade20k, make_miniature_coco_stuff
from tests.miniature_benchmarks import (
    make_miniature_ade20k_full,
    make_miniature_context_59,
    make_miniature_context_459,
    make_miniature_voc,
)

COMMANDS = Path(__file__).parents[2] / "datasets"
SCRIPTS = sorted(COMMANDS.glob("prepare_*.py"))


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a command as a shell does, but within this process."""

    def run_command(command, *arguments):
        monkeypatch.setattr(sys, "argv", [command, *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            runpy.run_path(str(COMMANDS / command), run_name="__main__")
        return done.value.code, *capsys.readouterr()

    return run_command


def mapped_truth(make, recipe, specs):
    def make_with_truth(root, n):
        make(root, n)
        rule = np.vectorize(recipe.class_of_value.get)
        return [
            {path.stem: rule(read_label_map(path)) for path in (root / spec.source_label_dir).iterdir()}
            for spec in specs
        ]

    return make_with_truth


CASES = {
    "prepare_ade20k_150.py": (ADE20K_150, mapped_truth(make_miniature_ade20k, ade20k_150(), ADE20K_150)),
    "prepare_coco_stuff.py": (COCO_STUFF_171, mapped_truth(make_miniature_coco_stuff, coco_stuff(), COCO_STUFF_171)),
    "prepare_ade20k_847.py": (ADE20K_847, lambda root, n: [make_miniature_ade20k_full(root, n)]),
    "prepare_pascal_context_59.py": (PASCAL_CONTEXT_59, lambda root, n: [make_miniature_context_59(root, n)]),
    "prepare_pascal_context_459.py": (PASCAL_CONTEXT_459, lambda root, n: [make_miniature_context_459(root, n)]),
    "prepare_pascal_voc.py": ((*PASCAL_VOC_20, *PASCAL_VOC_20B), make_miniature_voc),
}


def test_every_benchmark_has_its_command():
    assert sorted(CASES) == [path.name for path in SCRIPTS]
    for command, (specs, _) in CASES.items():
        assert {spec.command.partition(" --splits")[0] for spec in specs} == {f"python datasets/{command}"}
    assert {spec.name for specs, _ in CASES.values() for spec in specs} == {spec.name for spec in BENCHMARKS}


@pytest.mark.parametrize("command", CASES)
def test_from_original_files_to_scores(tmp_path, run, command):
    specs, make = CASES[command]
    truths = make(tmp_path, 3)
    status, _, errors = run(command, "--root", tmp_path, "--workers", 1, "--subset")
    assert status == 0, errors
    register_datasets(tmp_path)
    for spec, truth in zip(specs, truths, strict=True):
        records = load_records(spec, tmp_path)
        assert [Path(record["file_name"]).stem for record in records] == sorted(truth)
        evaluator = SemSegEvaluator(spec.name, distributed=False)
        for record in records:
            labels = read_label_map(record["sem_seg_file_name"])
            expected = truth[Path(record["file_name"]).stem]
            assert labels.dtype == (np.uint16 if spec.label_extension == "tif" else np.uint8)
            np.testing.assert_array_equal(labels, expected)
            assert Image.open(record["file_name"]).size == labels.shape[::-1]
            evaluator.process([record], [{"sem_seg": perfect_scores(expected, len(spec.classes))}])
        assert evaluator.evaluate()["sem_seg"]["mIoU"] == 100
    assert run(command, "--root", tmp_path, "--verify", "--splits", specs[0].split)[0] == 0


def perfect_scores(labels, num_classes):
    """Scores whose highest is the class, (T, H, W), anything where there is none."""
    known = np.where(labels < num_classes, labels, 0)
    return torch.nn.functional.one_hot(torch.from_numpy(known.astype(np.int64)), num_classes).permute(2, 0, 1)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_help_shows_the_folders(path, run):
    status, shown, _ = run(path.name, "--help")
    assert status == 0
    assert "annotations_detectron2" in shown
    assert "--verify" in shown


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_without_a_download_the_command_says_what_to_do(path, run, tmp_path):
    status, _, errors = run(path.name, "--root", tmp_path)
    assert status == 2
    assert "is missing" in errors
    assert f"python datasets/{path.name} " in errors
    assert list(tmp_path.iterdir()) == []
