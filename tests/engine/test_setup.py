from argparse import Namespace

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from catseg.engine.setup import setup
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
        ({"SOLVER__AMP__DTYPE": "float16", "SOLVER__AMP__ENABLED": True}, "float16 needs a GPU"),
        ({"SOLVER__ACCUMULATION_STEPS": 0}, "at least 1, got 0"),
        ({"DATALOADER__SAMPLER_TRAIN": "Other"}, "'Other', expected 'TrainingSampler'"),
        ({"TEST__SAVE_PREDICTIONS": "all"}, "'all', expected one of"),
        ({"TEST__BEST_METRIC": "sem_seg/AP"}, r"'sem_seg/AP', but .*toy_test/sem_seg/mIoU"),
        ({"DATASETS__TRAIN": ()}, r"DATASETS\.TRAIN is empty"),
        ({"DATASETS__TRAIN": ("toy_trian",)}, "'toy_trian'; did you mean toy_train"),
        ({"DATASETS__TEST": ("qqq",)}, "no dataset is called 'qqq'$"),
        ({"INPUT__FORMAT": "BGR"}, r"INPUT\.FORMAT must be RGB"),
        ({"SOLVER__IMS_PER_BATCH": 0}, "is 0: choose a multiple"),
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
        ({"num_machines": 2}, "--dist-url tcp://FIRST_MACHINE:PORT"),
        ({"num_machines": 2, "machine_rank": 2}, "--machine-rank counts from 0"),
    ],
)
def test_processes_that_cannot_be_are_an_error(arguments, flags, message):
    with pytest.raises(ValueError, match=message):
        setup(arguments(flags))


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
    with pytest.raises(ValueError, match="mixes toy_train and other"):
        setup(arguments(DATASETS__TRAIN=("toy_train", "other")))


def test_an_empty_dataset_is_an_error(arguments, other_dataset):
    other_dataset.clear()
    with pytest.raises(FileNotFoundError, match="other holds no pictures"):
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
    setup(arguments({"resume": True}))
    setup(arguments({"eval_only": True}))
