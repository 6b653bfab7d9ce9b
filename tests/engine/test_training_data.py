import pytest

from catseg.engine.training_data import build_train_loader, check_batches, check_training_sets


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"DATALOADER__NUM_WORKERS": -1}, r"DATALOADER\.NUM_WORKERS is -1, expected a number of at least 0"),
        ({"DATALOADER__SAMPLER_TRAIN": "Other"}, "'Other', expected 'TrainingSampler'"),
        ({"SOLVER__IMS_PER_BATCH": 0}, "is 0: choose a multiple of the 1 processes"),
        ({"INPUT__CROP__ENABLED": False}, r"INPUT\.CROP\.ENABLED False .*IMS_PER_BATCH to 1,"),
    ],
)
def test_batches_that_cannot_be_made_are_an_error(toy_config, overrides, message):
    with pytest.raises(ValueError, match=message):
        build_train_loader(toy_config(**overrides))


def test_batches_are_divided_among_processes(toy_config):
    check_batches(toy_config(SOLVER__IMS_PER_BATCH=6), processes=3)
    with pytest.raises(ValueError, match="is 4: choose a multiple of the 3 processes"):
        check_batches(toy_config(SOLVER__IMS_PER_BATCH=4), processes=3)


def test_an_image_per_process_needs_no_crop(toy_config):
    check_batches(toy_config(INPUT__CROP__ENABLED=False, SOLVER__IMS_PER_BATCH=2), processes=2)


def test_training_needs_data_sets(toy_config):
    check_training_sets(toy_config())
    with pytest.raises(ValueError, match=r"DATASETS\.TRAIN is empty"):
        check_training_sets(toy_config(DATASETS__TRAIN=()))
