import pytest
import torch

import catseg.checkpoint.files
from catseg.build import build_model
from catseg.checkpoint.checkpointer import Checkpointer
from catseg.checkpoint.files import find_checkpoints, require_file
from catseg.modeling.clip.loading import build_clip
from tests.tiny import tiny_config, tiny_model


def test_a_missing_file_is_an_error_that_says_what_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"MODEL\.WEIGHTS names .*gone\.pth"):
        require_file(tmp_path / "gone.pth", "MODEL.WEIGHTS")


def test_checkpoints_are_found_but_for_half_written_ones(tmp_path):
    for name in ("model_0000009.pth", "model_0000004.pth", ".123.partial.pth", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_checkpoints(tmp_path)] == ["model_0000004.pth", "model_0000009.pth"]
    assert find_checkpoints(tmp_path / "absent") == []


def test_a_folder_in_place_of_a_file_says_what_to_name(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(FileNotFoundError, match=r"MODEL\.WEIGHTS names .*, which is a folder: .*model\.safetensors"):
        require_file(tmp_path, "MODEL.WEIGHTS")


@pytest.fixture
def reads(monkeypatch):
    """The paths that were opened to be read as torch files, in turn."""
    paths, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda file, **options: paths.append(file.name) or load(file, **options))
    return paths


def test_a_checkpoint_is_read_once_and_kept_no_longer_than_until_it_is_loaded(tmp_path, reads):
    Checkpointer(tiny_model(tmp_path), str(tmp_path)).save("model_final")
    weights = tmp_path / "model_final.pth"
    cfg = tiny_config(tmp_path, MODEL__CLIP__WEIGHTS="spare.pt")
    assert build_model(cfg, str(weights))[1]
    assert reads == [str(weights)]
    assert not catseg.checkpoint.files._read_ahead
    build_model(cfg, str(weights))
    assert reads == [str(weights)] * 2


def test_a_checkpoint_that_changed_before_it_is_loaded_is_read_again(tmp_path, reads):
    path = tmp_path / "model.pth"
    torch.save({"clip.a": torch.zeros(1)}, path)
    assert catseg.checkpoint.files.holds_whole_network(path)
    torch.save({"clip.a": torch.ones(1), "b": torch.ones(1)}, path)
    assert catseg.checkpoint.files.take_checkpoint(path)["model"]["clip.a"] == 1
    assert reads == [str(path)] * 2
    assert not catseg.checkpoint.files._read_ahead


def test_the_file_that_clip_starts_from_is_read_once(tmp_path, reads):
    clip = build_clip("ViT-S-32-alt")
    torch.save(clip.state_dict(), tmp_path / "clip.pt")
    build_clip("ViT-S-32-alt", str(tmp_path / "clip.pt"))
    assert reads == [str(tmp_path / "clip.pt")]
