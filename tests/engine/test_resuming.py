import logging

import pytest

from catseg.engine.resuming import TAKE_EFFECT, changed_options, check_resumable, report_changes, write_config


@pytest.fixture
def run(toy_config, tmp_path):
    """The config of a run of four steps, of which a checkpoint of the third and the last are in the folder."""
    cfg = toy_config()
    write_config(cfg)
    for name in ("model_0000002.pth", "model_final.pth"):
        (tmp_path / "output" / name).touch()
    (tmp_path / "output" / "last_checkpoint").write_text("model_0000002.pth")
    return cfg


def test_the_same_options_go_on(run, toy_config, caplog):
    check_resumable(run)
    with caplog.at_level(logging.INFO):
        report_changes(run)
    assert caplog.text == ""
    assert changed_options(toy_config(SOLVER__MAX_ITER=5)) == {"SOLVER.MAX_ITER": (4, 5)}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SOLVER__BASE_LR", 0.5),
        ("SOLVER__WEIGHT_DECAY", 0.3),
        ("SOLVER__WEIGHT_DECAY_NORM", 0.3),
        ("SOLVER__CLIP_MULTIPLIER", 0.0),
        ("SOLVER__OPTIMIZER", "SGD"),
        ("SOLVER__IMS_PER_BATCH", 4),
        ("SOLVER__ACCUMULATION_STEPS", 2),
        ("SOLVER__LR_SCHEDULER_NAME", "WarmupMultiStepLR"),
        ("MODEL__SEM_SEG_HEAD__HIDDEN_DIMS", 16),
        ("MODEL__SWIN__DEPTHS", [2, 2, 4]),
        ("MODEL__WEIGHTS", "other.pth"),
        ("DATASETS__TRAIN", ("toy_test",)),
        ("INPUT__CROP__SIZE", (32, 32)),
        ("SEED", 99),
    ],
)
def test_options_that_would_be_ignored_or_break_are_refused(run, toy_config, key, value):
    name = key.replace("__", ".")
    with pytest.raises(ValueError, match=rf"other options, --resume needs the same ones: {name} .* \(was ") as caught:
        check_resumable(toy_config(**{key: value, "SOLVER__MAX_ITER": 8}))
    assert "MAX_ITER" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_that_take_effect_are_logged(run, toy_config, tmp_path, caplog):
    changed = {
        "SOLVER__MAX_ITER": 8,
        "SOLVER__CHECKPOINTS_KEPT": 1,
        "SOLVER__AMP__ENABLED": True,
        "TEST__EVAL_PERIOD": 2,
        "DATASETS__TEST": (),
        "DATALOADER__NUM_WORKERS": 3,
    }
    cfg = toy_config(**changed)
    check_resumable(cfg)
    with caplog.at_level(logging.INFO):
        report_changes(cfg)
    assert "SOLVER.MAX_ITER 8 (was 4)" in caplog.text
    assert "learning rate is that of a run of 8 iterations" in caplog.text
    for key in changed:
        assert key.replace("__", ".") in caplog.text


def test_a_run_can_end_earlier_but_not_before_what_it_has_done(run, toy_config, tmp_path):
    check_resumable(toy_config(SOLVER__MAX_ITER=3))
    with pytest.raises(ValueError, match=r"done 3 iterations, and 2 are asked for \(SOLVER"):
        check_resumable(toy_config(SOLVER__MAX_ITER=2))
    (tmp_path / "output" / "last_checkpoint").write_text("model_final.pth")
    with pytest.raises(ValueError, match=r"done 4 iterations, and 3 are asked for"):
        check_resumable(toy_config(SOLVER__MAX_ITER=3))


def test_a_folder_that_was_moved_goes_on(run, toy_config, tmp_path):
    (tmp_path / "output").rename(tmp_path / "moved")
    check_resumable(toy_config(OUTPUT_DIR=str(tmp_path / "moved")))


def test_without_a_checkpoint_there_is_nothing_to_compare_with(toy_config):
    write_config(toy_config())
    check_resumable(toy_config(SOLVER__BASE_LR=0.5))


def test_options_that_are_not_known_are_said_to_be(run, toy_config, tmp_path, caplog):
    config = tmp_path / "output" / "config.yaml"
    config.write_text("SOLVER: {BASE_LR: 0.002}\n")  # of a version that had fewer options
    check_resumable(toy_config())
    config.unlink()
    report_changes(toy_config(SOLVER__BASE_LR=0.5))
    assert "holds no config.yaml" in caplog.text
    config.write_text("SOLVER: [")
    with pytest.raises(ValueError, match=r"config\.yaml is damaged"):
        check_resumable(toy_config())


def test_options_that_take_effect_exist(toy_config):
    for option in TAKE_EFFECT:
        place = toy_config()
        for name in option.split("."):
            place = place[name]
