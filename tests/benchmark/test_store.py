import os

import pytest
import torch

from catseg.benchmark.store import RECORD, describe_settings, read_pair, write_pair
from catseg.checkpoint.hub import fetch_from_hub, parse_name
from tests.hub import LocalHub, use_hub
from tests.tiny import tiny_config

RECORDS = [{"file_name": "/data/images/a.jpg", "sem_seg_file_name": "/data/labels/a.png"}]
CLASSES = ["wall", "sky"]


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def describe(tmp_path, weights):
    def make(records=RECORDS, classes=CLASSES, **overrides):
        return describe_settings(
            tiny_config(tmp_path, **{"MODEL__WEIGHTS": str(weights), **overrides}), records, classes
        )

    return make


def test_what_is_written_is_read_with_the_same_settings_alone(tmp_path, describe):
    write_pair(tmp_path / "pair", {"settings": describe(), "scores": {"mIoU": 31.5}})
    assert read_pair(tmp_path / "pair", describe())["scores"] == {"mIoU": 31.5}
    assert read_pair(tmp_path / "pair", describe(classes=["wall", "sea"])) is None
    assert read_pair(tmp_path / "other", describe()) is None


@pytest.mark.parametrize("text", ["", "[]", '{"settings": '])
def test_what_cannot_be_read_is_made_again(tmp_path, describe, text):
    (tmp_path / RECORD).write_text(text)
    assert read_pair(tmp_path, describe()) is None


@pytest.mark.parametrize(
    "overrides",
    [
        {"MODEL__SEM_SEG_HEAD__POOLING_SIZES_TEST": [2, 2]},
        {"TEST__SLIDING_OVERLAP": 0.5},
        {"TEST__AUG__ENABLED": True},
        {"INPUT__MIN_SIZE_TEST": 480},
        {"INPUT__MAX_SIZE_TEST": 900},
        {"TEST__MAX_CLASSES": 64},
        {"TEST__DTYPE": "bfloat16"},
        {"TEST__SLIDING_WHOLE_IMAGE": False},
        {"MODEL__TRAINING_FREE__METHOD": "sclip"},
        {"MODEL__WEIGHTS": "catseg://v1-base"},
        {"records": [*RECORDS, {"file_name": "b.jpg", "sem_seg_file_name": "b.png"}]},
        {"records": [{**RECORDS[0], "upright": False}]},
    ],
)
def test_what_changes_the_numbers_changes_the_settings(describe, overrides):
    assert describe(**overrides) != describe()


def test_what_does_not_change_them_does_not(describe):
    same = {"MODEL__DEVICE": "cuda", "MODEL__CLIP__TEXT_CACHE": False, "TEST__CROPS_PER_CHUNK": 9, "OUTPUT_DIR": "x"}
    same |= {"MODEL__COMPILE": True, "TEST__IMS_PER_BATCH": 2}
    moved = [{key: value.replace("/data", "/elsewhere") for key, value in record.items()} for record in RECORDS]
    assert describe(records=moved, **same) == describe()


def test_other_weights_under_the_same_name_are_noticed(describe, weights):
    before = describe()
    os.utime(weights, ns=(1, 1))
    assert describe() != before


def test_weights_of_clip_count_where_there_are_no_others(describe, weights):
    of_tags = [describe(MODEL__WEIGHTS="", MODEL__CLIP__WEIGHTS=tag) for tag in ("openai", "laion400m_e32")]
    of_file = describe(MODEL__WEIGHTS="", MODEL__CLIP__WEIGHTS=str(weights))
    assert of_tags[0] != of_tags[1] != of_file
    os.utime(weights, ns=(1, 1))
    assert describe(MODEL__WEIGHTS="", MODEL__CLIP__WEIGHTS=str(weights)) != of_file
    assert describe(MODEL__CLIP__WEIGHTS="openai") == describe()


def test_missing_weights_are_named(describe):
    with pytest.raises(FileNotFoundError, match=r"no weights gone\.pth"):
        describe(MODEL__WEIGHTS="gone.pth")


def test_weights_of_the_hub_that_were_renewed_are_noticed(describe, tmp_path, monkeypatch):
    name = "hf://owner/repo/model.pth"
    torch.save({"a": torch.ones(1)}, tmp_path / "hub.pth")
    with LocalHub().running() as hub:
        use_hub(monkeypatch, hub.endpoint, tmp_path / "hub")
        hub.add("owner/repo", "model.pth", (tmp_path / "hub.pth").read_bytes())
        absent = describe(MODEL__WEIGHTS=name)
        fetch_from_hub(parse_name(name))
        first = describe(MODEL__WEIGHTS=name)
        torch.save({"a": torch.zeros(1)}, tmp_path / "hub.pth")
        hub.refs["main"] = "c" * 40
        hub.add("owner/repo", "model.pth", (tmp_path / "hub.pth").read_bytes())
        assert describe(MODEL__WEIGHTS=name) == first
        fetch_from_hub(parse_name(name), renew=True)
        assert absent != first != describe(MODEL__WEIGHTS=name) != absent
