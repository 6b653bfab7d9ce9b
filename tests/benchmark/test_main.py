"""The command, with a tiny model and a miniature of ADE20K-150."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from catseg.benchmark import __main__ as command
from catseg.benchmark.pair_evaluation import LastModel
from catseg.checkpoint.hub import converted_path, fetch_from_hub, parse_name
from catseg.config import load_config
from catseg.engine.launch import launch
from catseg.engine.trainer import Trainer
from tests.hub import LocalHub, use_hub
from tests.miniature import make_miniature_ade20k
from tests.tiny import option_words, tiny_config, tiny_options


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with `tiny.yaml`, its weights `tiny.pth`, and the data."""
    folder = tmp_path_factory.mktemp("benchmark")
    make_labels(make_miniature_ade20k(folder, 3, longest_side=64))
    cfg = tiny_config(folder, INPUT__FORMAT="RGB")
    (folder / "tiny.yaml").write_text(cfg.dump())
    torch.save({"model": Trainer.build_model(cfg).state_dict()}, folder / "tiny.pth")
    return folder


def make_labels(ade):
    for path in (ade / "annotations" / "validation").iterdir():
        made = ade / "annotations_detectron2" / "validation" / path.name
        made.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(Image.open(path)) - np.uint8(1)).save(made)


@pytest.fixture
def run(workplace, tmp_path, monkeypatch):
    """Runs the command on the tiny model; returns its status and what it evaluated."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(workplace))

    def run(*words, models=("tiny.yaml:tiny.pth",), datasets=("A-150",), opts=()):
        evaluated = []

        def watched(function, *, args, **options):
            evaluated.append(str(args[1]))
            return launch(function, args=args, **options)

        monkeypatch.setattr(command, "launch", watched)
        monkeypatch.chdir(workplace)
        arguments = ["--models", *models, "--datasets", *datasets, "--output", str(tmp_path / "out"), *words]
        return command.main([*arguments, *(["--opts", *opts] if opts else [])]), evaluated

    return run


def rows(tmp_path):
    return json.loads((tmp_path / "out" / "results.json").read_text())["rows"]


def test_a_pair_is_evaluated_once(run, tmp_path, workplace, capsys):
    assert run() == (0, ["tiny on A-150"])
    [row] = rows(tmp_path)
    assert (row["model"], row["benchmark"], row["images"], row["complete_images"]) == ("tiny", "A-150", 3, 2000)
    assert "tiny" in capsys.readouterr().out
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("data:image/webp") == 3
    assert run() == (0, [])
    assert rows(tmp_path) == [row]
    # Other settings, and weights that were touched.
    assert run(opts=("TEST.SLIDING_OVERLAP", "0.5")) == (0, ["tiny on A-150"])
    assert "SLIDING_OVERLAP" in (tmp_path / "out" / "results.md").read_text()
    os.utime(workplace / "tiny.pth")
    assert run(opts=("TEST.SLIDING_OVERLAP", "0.5")) == (0, ["tiny on A-150"])


def test_clip_alone_fills_a_row_by_itself(run, tmp_path, workplace):
    torch.save(
        {
            name.removeprefix("clip."): tensor
            for name, tensor in torch.load(workplace / "tiny.pth")["model"].items()
            if name.startswith("clip.")
        },
        workplace / "clip.pt",
    )
    model = "training-free:tiny_clip.json/clip.pt"
    opts = ("MODEL.CLIP.TEMPLATES", "single", "INPUT.MIN_SIZE_TEST", "40", "DATALOADER.NUM_WORKERS", "0")
    assert run(models=(model,), opts=opts) == (0, [f"{model} on A-150"])
    [row] = rows(tmp_path)
    assert (row["model"], row["weights"], len(row["sha256"]), row["images"]) == (model, "clip.pt", 64, 3)
    assert run(models=(model,), opts=opts) == (0, [])
    os.utime(workplace / "clip.pt")
    assert run(models=(model,), opts=opts)[1] == [f"{model} on A-150"]
    assert run(models=("training-free:tiny_clip.json/gone.pt",))[0] == command.INCOMPLETE


def test_weights_of_the_hub_are_known_by_their_commit(run, workplace, monkeypatch, tmp_path):
    model = ["tiny=tiny.yaml:hf://owner/repo/tiny.pth"]
    source = parse_name("hf://owner/repo/tiny.pth")
    with LocalHub().running() as hub:
        use_hub(monkeypatch, hub.endpoint, tmp_path / "hub")
        hub.add("owner/repo", "tiny.pth", (workplace / "tiny.pth").read_bytes())
        assert run(models=model) == (0, ["tiny on A-150"])
        assert run(models=model) == (0, [])
        converted_path(source).unlink()
        assert run(models=model) == (0, [])  # downloaded again, and the same
        hub.refs["main"] = "c" * 40
        hub.add("owner/repo", "tiny.pth", (workplace / "tiny.pth").read_bytes())
        fetch_from_hub(source, renew=True)
        assert run(models=model) == (0, ["tiny on A-150"])


@pytest.mark.slow
def test_scores_are_those_of_train_net(run, tmp_path, workplace):
    run()
    script = [sys.executable, command.__file__.replace("catseg/benchmark/__main__.py", "train_net.py")]
    options = option_words(
        tiny_options(workplace)
        | {
            "MODEL.WEIGHTS": "tiny.pth",
            "DATASETS.TEST": "('ade20k_150_test_sem_seg',)",
            "OUTPUT_DIR": tmp_path / "train_net",
        }
    )
    done = subprocess.run(
        [*script, "--eval-only", "--config-file", "tiny.yaml", *options], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "train_net" / "results.json").read_text())["results"]
    assert rows(tmp_path)[0]["miou"] == results["ade20k_150_test_sem_seg"]["sem_seg"]["mIoU"]


def test_missing_data_and_weights_do_not_stop_the_rest(run, tmp_path, caplog):
    models = ["gone=tiny.yaml:gone.pth", "untrained=tiny.yaml", "tiny.yaml:tiny.pth"]
    status, evaluated = run(models=models, datasets=["PC-459", "A-150"])
    assert status == 1
    assert evaluated == ["untrained on A-150", "tiny on A-150"]
    assert [row["model"] for row in rows(tmp_path)] == ["tiny"]
    notes = "\n".join(json.loads((tmp_path / "out" / "results.json").read_text())["notes"])
    assert "Left out: PC-459: " in notes
    assert "prepare_pascal_context_459.py" in notes
    assert "Left out: gone on A-150: there are no weights gone.pth" in notes
    assert "Left out: untrained on A-150: the weights '' hold no trained CAT-Seg" in notes
    assert "prepare_pascal_context_459.py" in caplog.text


def test_published_weights_that_cannot_be_had_leave_out_the_model(run, tmp_path):
    # Tests have no network.
    assert run(models=["v1-large", "tiny.yaml:tiny.pth"]) == (1, ["tiny on A-150"])
    [note] = json.loads((tmp_path / "out" / "results.json").read_text())["notes"]
    assert note.startswith("Left out: v1-large: ")
    assert "model_final_large.pth" in note


@pytest.mark.slow
def test_two_processes_find_what_one_finds(run, tmp_path):
    run()
    [alone] = rows(tmp_path)
    confusions = (tmp_path / "out" / "pairs" / "tiny" / "ade20k_150_test_sem_seg" / "pair.json").read_text()
    (tmp_path / "out" / "pairs" / "tiny" / "ade20k_150_test_sem_seg" / "pair.json").unlink()
    assert run("--num-gpus", "2")[0] == 0
    [both] = rows(tmp_path)
    assert both["miou"] == pytest.approx(alone["miou"], abs=0.01)
    again = (tmp_path / "out" / "pairs" / "tiny" / "ade20k_150_test_sem_seg" / "pair.json").read_text()
    assert len(json.loads(again)["worst"]) == len(json.loads(confusions)["worst"]) == 3


def test_augmentation_is_of_other_settings(run, tmp_path):
    run()
    [plain] = rows(tmp_path)
    assert run(opts=("TEST.AUG.ENABLED", "True", "TEST.AUG.MIN_SIZES", "(64, 96)"))[1] == ["tiny on A-150"]
    [augmented] = rows(tmp_path)
    assert augmented["miou"] != plain["miou"]


def test_other_names_for_the_classes_are_looked_for(run, tmp_path, workplace):
    run()
    [plain] = rows(tmp_path)
    (workplace / "names.txt").write_text("".join(f"thing {number}\n" for number in range(150)))
    options = ("DATASETS.TEST_CLASSES", "names.txt")
    assert run(opts=options) == (0, ["tiny on A-150"])
    record = json.loads((tmp_path / "out" / "pairs" / "tiny" / "ade20k_150_test_sem_seg" / "pair.json").read_text())
    assert all(item["name"].startswith("thing ") for item in record["classes"])
    assert rows(tmp_path)[0]["miou"] != plain["miou"]
    assert run(opts=options) == (0, [])
    (workplace / "names.txt").write_text("".join(f"matter {number}\n" for number in range(150)))
    assert run(opts=options) == (0, ["tiny on A-150"])
    (workplace / "names.txt").write_text("thing\n")
    assert run(opts=options) == (1, [])
    assert "the data set ade20k_150_test_sem_seg has 150 classes" in (tmp_path / "out" / "results.md").read_text()


def test_names_of_a_config_are_for_its_own_test_sets(run, workplace):
    config = load_config(workplace / "tiny.yaml", ["DATASETS.TEST_CLASSES", "pascal_voc_20"])
    (workplace / "other.yaml").write_text(config.dump())
    assert run(models=["other.yaml:tiny.pth"]) == (0, ["other on A-150"])
    config.DATASETS.TEST = ("ade20k_150_test_sem_seg",)
    (workplace / "other.yaml").write_text(config.dump())
    assert run(models=["other.yaml:tiny.pth"]) == (1, [])


def test_ctrl_c_keeps_what_is_finished(run, tmp_path, monkeypatch, workplace):
    run()
    before = (tmp_path / "out" / "results.json").read_text()

    def interrupt(self, cfg, model):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LastModel, "get", interrupt)
        models = ["tiny.yaml:tiny.pth", "other=tiny.yaml:tiny.pth"]
        assert run(models=models) == (130, ["other on A-150"])
    assert (tmp_path / "out" / "results.json").read_text() == before
    assert not list((tmp_path / "out").rglob(".*"))
    assert run(models=models)[1] == ["other on A-150"]
    assert [row["model"] for row in rows(tmp_path)] == ["tiny", "other"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--models", "v3-large", "--datasets", "all"], "did you mean"),
        (["--models", "tiny.yaml", "--datasets", "A-151"], "did you mean A-150"),
        (["--models", "tiny.yaml", "--datasets", "all", "--opts", "TEST.AUGS", "1"], "no config key TEST.AUGS"),
        (["--models", "tiny.yaml", "--datasets", "all", "--num-gpus", "0"], "at least 1"),
        (
            ["--models", "tiny.yaml", "--datasets", "all", "--opts", "DATASETS.TEST", "x"],
            "TEST has no effect.*--datasets",
        ),
        (
            ["--models", "tiny.yaml", "--datasets", "all", "--opts", "OUTPUT_DIR", "x"],
            "OUTPUT_DIR has no effect.*--output",
        ),
        (
            ["--models", "v2-base", "--datasets", "all", "--opts", "MODEL.WEIGHTS", "x"],
            "WEIGHTS has no effect.*CONFIG.yaml",
        ),
        (["--models", "v2-base", "--datasets", "all", "--opts", "TEST.SAVE_PREDICTIONS", "both"], "train_net.py"),
    ],
)
def test_wrong_arguments_are_named(workplace, monkeypatch, capsys, words, message):
    monkeypatch.chdir(workplace)
    with pytest.raises(SystemExit) as stopped:
        command.main(words)
    assert stopped.value.code == command.WRONG_USE
    assert re.search(message, capsys.readouterr().err)


def test_help_says_what_there_is(capsys):
    with pytest.raises(SystemExit):
        command.parse_arguments(["--help"])
    text = capsys.readouterr().out
    for part in ("v2-large", "PAS-20b", "CONFIG.yaml[:WEIGHTS]", "exit status", "examples"):
        assert part in text


@pytest.mark.parametrize(("seconds", "text"), [(12.4, "12 s"), (150, "2 min"), (3 * 3600 + 61, "3 h 1 min")])
def test_durations(seconds, text):
    assert command._duration(seconds) == text
