"""`catseg train` and `catseg eval` on data of one's own, with a tiny model."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from catseg.cli.commands import data as data_command
from catseg.cli.commands import eval as eval_command
from catseg.cli.commands import train
from catseg.engine.command import main
from tests.own_formats import bands, mask, photo, text

SHORT = ["--steps", "2", "--batch", "2"]


@pytest.fixture
def data(tiny):
    """Ten images with label maps of two classes, as a folder and as an Ultralytics file."""
    for index in range(10):
        photo(tiny / f"folder/images/train/{index}.png", index, size=(48, 64))
        mask(tiny / f"folder/masks/train/{index}.png", bands(0, 1, size=(48, 64)))
    text(tiny / "folder/data.yaml", "path: .\ntrain: images/train\nnames: [sofa, cat]\n")
    text(tiny / "mydata.yaml", "path: folder\ntrain: images/train\nnames: [sofa, cat]\n")
    yield tiny
    for name in [name for name in DatasetCatalog.list() if name.startswith("own_")]:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def examples(command):
    lines = command.EPILOG.split("examples:\n")[1].split("\n\n")[0].splitlines()
    return [shlex.split(line)[1:] for line in lines]


def test_examples_of_the_help(data, catseg):
    """Those on own data, each with the tiny model and two steps, in order, since one goes on from the other."""
    for words in [words for words in (*examples(train), *examples(eval_command)) if "_sem_seg" not in " ".join(words)]:
        replaced = ["tiny.yaml" if word in ("v2-base", "shapes") else word for word in words]
        replaced += ["--steps", "2", "--batch", "2"] * (words[0] == "train")
        status, out, err = catseg(*replaced)
        assert status == 0, err
        if words[0] == "train":
            assert out == ""
    assert "mIoU" in out
    assert (data / "output/eval/eval_report.html").is_file()


def test_the_run_says_what_it_did(data, catseg):
    status, _, err = catseg("train", "--data", "folder", "-o", "mine", *SHORT)
    assert status == 0, err
    assert json.loads(Path("mine/model_best.json").read_text())["metric"] == "sem_seg/mIoU"
    for name in ("report.html", "config.yaml", "model_best.pth", "model_final.pth"):
        assert (data / "mine" / name).is_file()
    (made,) = json.loads((data / "mine/validation_split.json").read_text()).values()
    assert len(made) == 1
    assert "1 of the images for training" in (data / "mine/report.html").read_text()
    config = (data / "mine/config.yaml").read_text()
    assert "own_folder_val" in config
    assert "PATIENCE: 3" in config
    status, _, err = catseg("train", "--data", "folder", "-o", "mine", *SHORT)
    assert status == 2
    assert "go on with it by --resume, or choose another output folder" in err
    status, _, err = catseg("train", "--data", "folder", "-o", "mine", "--steps", "1", "--batch", "2", "--resume")
    assert status == 2
    assert "of a run that has already done 2 iterations, and 1 are asked for" in err
    status, _, err = catseg("train", "--data", "folder", "-o", "mine", "--steps", "2", "--batch", "1", "--resume")
    assert status == 2
    assert "another output folder and the weights" in err
    assert "OUTPUT_DIR" not in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "flags"),
    [([], ["--gpus", "2"]), (["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"], [])],
    ids=["gpus", "torchrun"],
)
def test_every_process_knows_the_own_data(data, launcher, flags):
    command = [sys.executable, *launcher, "-m", "catseg", "train", "--data", "folder", "-o", "two", *SHORT, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Process 0 of 2 on cpu" in done.stderr
    assert done.stdout == ""
    assert json.loads(Path("two/model_best.json").read_text())["metric"] == "sem_seg/mIoU"


def test_a_run_is_evaluated_by_its_config_alone(data, catseg):
    """As `train_net.py` does, in a process that knows nothing of the data but what the config says."""
    assert catseg("train", "--data", "folder", "-o", "mine", *SHORT)[0] == 0
    for name in ("own_folder_train", "own_folder_val"):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    main(["--config-file", "mine/config.yaml", "--eval-only", "MODEL.WEIGHTS", "mine/model_best.pth"])
    assert "own_folder_val" in json.loads(Path("mine/results.json").read_text())["results"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--data", "gone"], "no data set gone"),
        (["train", "--data", "photos"], "no data set of a known format"),
        (["train", "--data", "folder", "-m", "v9"], "no model is called 'v9'"),
        (["train", "--data", "folder", "--steps", "0"], "expected a whole number of at least 1"),
        (["train", "--data", "folder", "--opts", "SOLVER.BASE_LRR", "1"], "BASE_LRR"),
        (["train"], "required: --data"),
        (["eval", "--data", "gone"], "no data set is called 'gone'"),
        (["eval", "--data", "ade20k_150_test_sem_seg"], "is missing"),
    ],
)
def test_wrong_use(data, catseg, words, message):
    status, out, err = catseg(*words)
    assert (status, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert not Path("output").exists()


@pytest.mark.parametrize("line", [" ".join(words) for words in examples(data_command)])
def test_examples_of_the_data_help(data, catseg, line):
    status, out, err = catseg(*shlex.split(line))
    assert status == 0, err
    assert out
    assert "Traceback" not in err


def test_data_are_checked_and_converted(data, catseg):
    assert catseg("data", "check", "folder", "--page", "report.html", "--sheet", "sheet.png")[:1] == (0,)
    assert (data / "report.html").is_file()
    assert (data / "sheet.png").is_file()
    status, out, _ = catseg("data", "convert", "folder", "--to", "coco", "-o", "converted")
    assert (status, out) == (0, f"{data / 'converted'}\n")
    mask(data / "folder/masks/train/3.png", np.full((48, 64), 9))
    status, out, _ = catseg("data", "check", "folder", "--json")
    assert status == 1
    assert json.loads(out)["problems"]
    assert "problem: " in catseg("data", "check", "folder")[1]
    status, out, err = catseg("data", "check", "folder", "--sheet", "sheet.doc")
    assert status == 2
    assert "problem: " in out
    assert ".doc is no image format" in err
    status, _, err = catseg("data", "convert", "folder", "--to", "tiff", "-o", "other")
    assert status == 2
    assert "there are label-images, coco" in err


def test_the_log_of_a_run_is_its_own(data, catseg):
    for name in ("first", "second"):
        assert catseg("train", "--data", "folder", "-o", name, *SHORT)[0] == 0
    first, second = (Path(name, "log.txt").read_text() for name in ("first", "second"))
    assert "Report: first" in first
    assert "Report: second" not in first
    assert second.count("Report: second") == 1


def test_the_format_can_be_said(data, catseg):
    words = ["--data", "folder", "-o", "mine", *SHORT]
    assert "unknown format 'coco2'" in catseg("train", *words, "--data-format", "coco2")[2]
    assert catseg("train", *words, "--data-format", "ultralytics")[0] == 0
    assert "OWN_FORMAT: ultralytics" in Path("mine/config.yaml").read_text()


def test_images_for_training_and_validation_alike_are_told(data, catseg):
    for index in range(10, 13):
        photo(data / f"folder/images/val/{index}.png", index, size=(48, 64))
        mask(data / f"folder/masks/val/{index}.png", bands(0, 1, size=(48, 64)))
    text(data / "folder/data.yaml", "path: .\ntrain: images/train\nval: images/val\nnames: [sofa, cat]\n")
    assert "also for training" not in catseg("train", "--data", "folder", "-o", "apart", *SHORT)[2]
    photo(data / "folder/images/val/11.png", 3, size=(48, 64))
    status, _, err = catseg("train", "--data", "folder", "-o", "shared", *SHORT)
    assert status == 0
    assert "1 of 3 images for validation, such as" in err
    assert "11.png, are also for training" in err
