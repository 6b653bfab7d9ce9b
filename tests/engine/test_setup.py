import logging
from argparse import Namespace

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

import catseg.checkpoint.files
import catseg.engine.setup
from catseg.engine.setup import _describe_device, setup, start_process, starting_weights
from catseg.errors import InputError
from tests.tiny import option_words, tiny_options

NO_GPU = not torch.cuda.is_available()


@pytest.fixture
def arguments(tmp_path, toy_datasets):
    """Makes command line arguments; config keys are given with `__` for the dots."""
    config = tmp_path / "config.yaml"
    config.write_text("VERSION: 2\n")

    def make(flags=None, **overrides):
        options = {
            **tiny_options(tmp_path),
            "INPUT.FORMAT": "RGB",
            "INPUT.CROP.ENABLED": True,
            "INPUT.CROP.TYPE": "absolute",
            "DATASETS.TRAIN": ("toy_train",),
            "DATASETS.TEST": ("toy_test",),
            "OUTPUT_DIR": tmp_path / "output",
            **{key.replace("__", "."): value for key, value in overrides.items()},
        }
        defaults = {
            "config_file": str(config),
            "opts": option_words(options),
            "resume": False,
            "eval_only": False,
            "num_gpus": 1,
            "num_machines": 1,
            "machine_rank": 0,
            "dist_url": "auto",
        }
        return Namespace(**defaults | (flags or {}))

    return make


def test_a_good_config_comes_back_frozen_and_leaves_no_trace(arguments, tmp_path):
    cfg = setup(arguments(SOLVER__MAX_ITER=12))
    assert cfg.is_frozen()
    assert cfg.SOLVER.MAX_ITER == 12
    assert not (tmp_path / "output").exists()


@pytest.mark.skipif(not NO_GPU, reason="needs a machine without a GPU")
def test_without_a_gpu_the_device_is_the_cpu(arguments):
    assert setup(arguments(MODEL__DEVICE="cuda")).MODEL.DEVICE == "cpu"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"SOLVER__AMP__DTYPE": "float8"}, r"SOLVER\.AMP\.DTYPE is 'float8'"),
        ({"SOLVER__BASE_LR": -0.1}, r"SOLVER\.BASE_LR is -0\.1, expected a number of at least 0"),
        ({"SOLVER__LR_SCHEDULER_NAME": "Cosine"}, "a schedule of the learning rate that does not exist"),
        ({"SOLVER__CHECKPOINT_PERIOD": 0}, r"SOLVER\.CHECKPOINT_PERIOD is 0, expected a number of at least 1"),
        ({"DATALOADER__SAMPLER_TRAIN": "Other"}, "'Other', expected 'TrainingSampler'"),
        ({"TEST__SAVE_PREDICTIONS": "all"}, "'all', expected one of"),
        ({"TEST__BEST_METRIC": "sem_seg/AP"}, r"'sem_seg/AP', but .*toy_test/sem_seg/mIoU"),
        ({"DATASETS__TRAIN": ()}, r"DATASETS\.TRAIN is empty"),
        ({"DATASETS__TRAIN": ("toy_trian",)}, "'toy_trian'; did you mean toy_train"),
        ({"DATASETS__TEST": ("qqq",)}, "no dataset is called 'qqq'$"),
        ({"INPUT__FORMAT": "BGR"}, r"INPUT\.FORMAT must be RGB"),
        ({"MODEL__CLIP__NAME": "ViT-B-61"}, "unknown CLIP model 'ViT-B-61'; did you mean"),
        ({"MODEL__META_ARCHITECTURE": "TrainingFreeSegmenter"}, "TrainingFreeSegmenter has nothing to train: evaluate"),
    ],
)
def test_values_that_do_not_fit_are_an_error(arguments, overrides, message):
    with pytest.raises(ValueError, match=message):
        setup(arguments(**overrides))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"num_gpus": 0}, "--num-gpus 0"),
        ({"num_gpus": 3}, "is 2: choose a multiple of the 3 processes"),
        ({"num_gpus": 2, "device": "mps"}, "MODEL.DEVICE mps takes one process"),
        ({"num_gpus": 2, "device": "cuda:0"}, "MODEL.DEVICE cuda:0 takes one process, .* MODEL.DEVICE cuda, each has"),
        ({"num_machines": 2}, "--dist-url tcp://FIRST_MACHINE:PORT"),
        ({"num_machines": 2, "machine_rank": 2}, "--machine-rank counts from 0"),
    ],
)
def test_processes_that_cannot_be_are_an_error(arguments, flags, message):
    device = flags.pop("device", "cpu")
    with pytest.raises(ValueError, match=message):
        setup(arguments(flags, MODEL__DEVICE=device))


def test_the_best_metric_is_of_the_classes_that_are_scored(arguments):
    MetadataCatalog.get("toy_test").set(scored_classes=["grass", "background"])
    setup(arguments(TEST__BEST_METRIC="sem_seg/IoU-background"))
    with pytest.raises(ValueError, match="'sem_seg/IoU-sky', but"):
        setup(arguments(TEST__BEST_METRIC="sem_seg/IoU-sky"))


def test_evaluation_takes_any_options_of_training(arguments):
    setup(arguments({"eval_only": True, "num_gpus": 3}, SOLVER__MAX_ITER=0, SOLVER__OPTIMIZER="none"))


def test_devices_are_described(monkeypatch):
    assert "no GPU" in _describe_device("cpu") or not NO_GPU
    assert _describe_device("mps") == "mps"


@pytest.fixture
def other_dataset():
    """Registers a data set `other`, whose classes are not those of the toy data sets; its records."""
    records = [{}]
    DatasetCatalog.register("other", lambda: records)
    MetadataCatalog.get("other").set(stuff_classes=["car"], ignore_label=255)
    yield records
    DatasetCatalog.remove("other")
    MetadataCatalog.remove("other")


def test_training_sets_of_other_classes_cannot_be_mixed(arguments, other_dataset):
    other_dataset[:] = DatasetCatalog.get("toy_train")
    with pytest.raises(ValueError, match="mixes toy_train and other"):
        setup(arguments(DATASETS__TRAIN=("toy_train", "other")))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["car", "Car"], "entry 2 of stuff_classes of the data set other repeats the class 'Car' of entry 1"),
        ({0: "car", 1: "cat"}, "stuff_classes of the data set other must be a list of class names, got dict"),
        (["car, cat"], "stuff_classes of the data set other holds one class with 2 synonyms"),
    ],
)
def test_classes_of_a_dataset_are_checked(arguments, other_dataset, classes, message):
    MetadataCatalog.remove("other")
    MetadataCatalog.get("other").set(stuff_classes=classes, ignore_label=255)
    with pytest.raises(ValueError, match=message):
        setup(arguments({"eval_only": True}, DATASETS__TEST=("other",)))


@pytest.mark.parametrize("kind", ["TRAIN", "TEST"])
def test_names_that_contradict_a_dataset_are_an_error(arguments, kind):
    with pytest.raises(ValueError, match=r"has 20 names, but the data set toy_\w+ has 3 classes"):
        setup(arguments(**{f"DATASETS__{kind}_CLASSES": "pascal_voc_20"}))
    setup(arguments({"eval_only": True}, DATASETS__TRAIN_CLASSES="pascal_voc_20"))


def test_datasets_are_checked_before_anything_is_loaded(arguments, other_dataset):
    with pytest.raises(InputError, match="record 0 of the data set other has no 'file_name'"):
        setup(arguments({"eval_only": True}, DATASETS__TEST=("other",)))


@pytest.mark.parametrize("eval_only", [False, True])
def test_label_maps_are_looked_at_before_anything_is_loaded(arguments, monkeypatch, caplog, eval_only):
    monkeypatch.setattr(catseg.engine.setup, "_log_to", lambda *_: None)  # it would hide from caplog
    args = arguments({"eval_only": eval_only})
    start_process(setup(args), args)
    for name in ("toy_train", "toy_test"):
        for record in DatasetCatalog.get(name):
            with Image.open(record["sem_seg_file_name"]) as image:
                labels = np.asarray(image)
            Image.fromarray(np.where(labels == 2, 255, labels).astype(np.uint8)).save(record["sem_seg_file_name"])
    assert "no pixel" not in caplog.text
    start_process(setup(args), args)
    assert ("toy_train: no pixel of class 2 (sky) in 5 label maps" in caplog.text) != eval_only
    Image.fromarray(np.full_like(labels, 7)).save(record["sem_seg_file_name"])
    with pytest.raises(InputError, match="has values that are no class: 7"):
        start_process(setup(args), args)


def test_an_empty_dataset_is_an_error(arguments, other_dataset):
    other_dataset.clear()
    with pytest.raises(FileNotFoundError, match="other holds no images"):
        setup(arguments(DATASETS__TEST=("other",)))


def test_missing_data_are_an_error_that_names_folder_and_command(arguments):
    with pytest.raises(FileNotFoundError, match=r"ADEChallengeData2016.*prepare_ade20k_150\.py"):
        setup(arguments(DATASETS__TEST=("ade20k_150_test_sem_seg",)))


def test_evaluation_needs_no_training_data(arguments):
    with pytest.raises(FileNotFoundError, match="coco"):
        setup(arguments(DATASETS__TRAIN=("coco_2017_train_stuff_all_sem_seg",)))
    setup(arguments({"eval_only": True}, DATASETS__TRAIN=("coco_2017_train_stuff_all_sem_seg",)))
    with pytest.raises(ValueError, match=r"DATASETS\.TEST is empty"):
        setup(arguments({"eval_only": True}, DATASETS__TEST=()))


def test_missing_weights_are_an_error(arguments):
    with pytest.raises(FileNotFoundError, match=r"MODEL\.WEIGHTS names .*gone\.pth"):
        setup(arguments(MODEL__WEIGHTS="gone.pth"))
    setup(arguments(MODEL__WEIGHTS="https://somewhere/else.pth"))


def test_a_run_does_not_mix_with_an_earlier_one(arguments, tmp_path):
    folder = tmp_path / "output"
    folder.mkdir()
    (folder / "log.txt").touch()
    setup(arguments())
    (folder / "model_0000004.pth").touch()
    with pytest.raises(FileExistsError, match=r"model_0000004\.pth.*--resume"):
        setup(arguments())
    (folder / "last_checkpoint").write_text("model_0000004.pth")
    setup(arguments({"resume": True}))
    setup(arguments({"eval_only": True}))


def test_missing_weights_of_clip_are_an_error(arguments, tmp_path):
    missing = {"MODEL__CLIP__WEIGHTS": "gone/clip.safetensors"}
    with pytest.raises(FileNotFoundError, match=r"MODEL\.CLIP\.WEIGHTS names gone/clip\.safetensors, .*not a file$"):
        setup(arguments(**missing))
    with pytest.raises(FileNotFoundError, match="pretrain_clip makes them"):
        setup(arguments(MODEL__CLIP__NAME="catseg-shapes", **missing))
    torch.save({"model": {"patch_embed.bias": torch.zeros(1)}}, tmp_path / "backbone.pth")
    with pytest.raises(FileNotFoundError, match=r"clip\.safetensors"):
        setup(arguments(MODEL__WEIGHTS=tmp_path / "backbone.pth", **missing))
    torch.save({"model": {"clip.logit_scale": torch.zeros(1)}}, tmp_path / "network.pth")
    setup(arguments(MODEL__WEIGHTS=tmp_path / "network.pth", **missing))


@pytest.mark.parametrize(("processes", "kept"), [(1, 1), (2, 0)])
def test_a_process_that_loads_no_weights_keeps_none(arguments, tmp_path, processes, kept):
    torch.save({"model": {"clip.logit_scale": torch.zeros(1)}}, tmp_path / "network.pth")
    options = {"MODEL__WEIGHTS": tmp_path / "network.pth", "MODEL__CLIP__WEIGHTS": "gone/clip.safetensors"}
    setup(arguments({"num_gpus": processes}, **options))
    assert len(catseg.checkpoint.files._read_ahead) == kept


def test_weights_on_the_hub_are_downloaded_before_there_are_several_processes(arguments, monkeypatch):
    fetched = []
    monkeypatch.setattr(catseg.engine.setup, "fetch", fetched.append)
    setup(arguments(MODEL__WEIGHTS="catseg://v2-large"))
    setup(arguments(MODEL__WEIGHTS="https://host/model.pth"))  # the checkpointer downloads it
    assert fetched == ["catseg://v2-large"]
    monkeypatch.setattr(catseg.engine.setup, "find_checkpoints", lambda folder: [folder / "model.pth"])
    with pytest.raises(FileExistsError):
        setup(arguments(MODEL__WEIGHTS="catseg://v2-large"))
    with pytest.raises(ValueError, match="no published model is called catseg://v3"):
        setup(arguments(MODEL__WEIGHTS="catseg://v3", DATASETS__TRAIN=("wrong",)))
    assert len(fetched) == 1  # nothing, where something else is wrong


def test_what_a_resumed_run_starts_from(arguments, tmp_path):
    folder = tmp_path / "output"
    resume, evaluate = arguments({"resume": True}), arguments({"resume": True, "eval_only": True})
    assert starting_weights(setup(resume), resume) == ""
    with pytest.raises(FileNotFoundError, match="holds no checkpoint for --resume"):
        setup(evaluate)
    folder.mkdir()
    for name in ("model_0000004.pth", "model_best.pth"):
        (folder / name).touch()
    for args in (resume, evaluate):
        with pytest.raises(FileNotFoundError, match=r"no file last_checkpoint .*echo model_0000004\.pth > "):
            setup(args)
    (folder / "last_checkpoint").write_text("model_0000004.pth")
    for args in (resume, evaluate):
        assert starting_weights(setup(args), args) == str(folder / "model_0000004.pth")
    (folder / "model_0000004.pth").unlink()
    with pytest.raises(FileNotFoundError, match=r"last_checkpoint names .*model_0000004\.pth"):
        setup(resume)


def test_a_resumed_run_keeps_its_options_and_config_yaml_tells_the_truth(arguments, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(catseg.engine.setup, "_log_to", lambda *_: None)  # it would hide from caplog
    folder = tmp_path / "output"
    first = arguments(SOLVER__MAX_ITER=4)
    start_process(setup(first), first)
    (folder / "model_0000001.pth").touch()
    (folder / "last_checkpoint").write_text("model_0000001.pth")
    with pytest.raises(ValueError, match=r"SOLVER\.BASE_LR 0\.5 \(was "):
        setup(arguments({"resume": True}, SOLVER__BASE_LR=0.5, SOLVER__MAX_ITER=8))
    assert "MAX_ITER: 4" in (folder / "config.yaml").read_text()
    setup(arguments({"resume": True, "eval_only": True}, SOLVER__BASE_LR=0.5))
    longer = arguments({"resume": True}, SOLVER__MAX_ITER=8)
    with caplog.at_level(logging.INFO):
        start_process(setup(longer), longer)
    assert "take effect: SOLVER.MAX_ITER 8 (was 4)" in caplog.text
    assert "MAX_ITER: 8" in (folder / "config.yaml").read_text()


def test_a_folder_that_another_run_logs_to_is_noticed(arguments, monkeypatch, caplog):
    monkeypatch.setattr(catseg.engine.setup, "_log_to", lambda *_: None)  # it would hide from caplog
    args = arguments()
    for _ in range(2):
        assert "earlier run" not in caplog.text
        start_process(setup(args), args)
    assert "holds the log of an earlier run" in caplog.text
