import hashlib
import io
import os
import pickle
import re

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file

from catseg.checkpoint.files import read_checkpoint
from catseg.checkpoint.hub import HubFile, converted_path, fetch_from_hub, kept_commit, parse_name
from tests.hub import COMMITS, LocalHub, use_hub

SOURCE = HubFile("hamacojr/CAT-Seg", "model_final_large.pth")
PLACE = f"{SOURCE.repo}/resolve/{COMMITS['main']}/{SOURCE.file}"


def torch_file(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def weights(value=1.0):
    tensor = torch.full((300, 7), value)
    return {"model": {"module.a": tensor, "b": tensor}, "optimizer": {"lr": 0.1}, "iteration": 79_999}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with LocalHub().running() as hub:
        use_hub(monkeypatch, hub.endpoint, tmp_path / "hub")
        hub.add(SOURCE.repo, SOURCE.file, torch_file(weights()))
        yield hub


def message(source=SOURCE, raised=FileNotFoundError, **options):
    with pytest.raises(raised) as error:
        fetch_from_hub(source, **options)
    return str(error.value)


def assert_says_how_to_get_it(text, endpoint):
    assert f"{endpoint}/hamacojr/CAT-Seg/resolve/main/model_final_large.pth" in text
    assert "`hf download hamacojr/CAT-Seg model_final_large.pth`" in text
    assert "MODEL.WEIGHTS the path" in text


def test_weights_are_downloaded_checked_and_kept_as_safetensors(hub):
    path = fetch_from_hub(SOURCE)
    assert path == converted_path(SOURCE)
    assert {name: tensor[0, 0].item() for name, tensor in load_file(path).items()} == {"a": 1.0, "b": 1.0}
    assert read_checkpoint(path).keys() == {"model"}
    assert kept_commit(SOURCE) == COMMITS["main"]
    (path.parent / "plain").touch()
    assert path.stat().st_mode == (path.parent / "plain").stat().st_mode


def test_the_second_start_asks_nobody(hub, monkeypatch):
    first = fetch_from_hub(SOURCE)
    hub.requests.clear()
    assert fetch_from_hub(SOURCE) == first
    assert hub.requests == []
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert fetch_from_hub(SOURCE) == first


def test_a_branch_that_moves_on_is_followed_only_when_asked_for(hub):
    fetch_from_hub(SOURCE)
    hub.refs["main"] = COMMITS["next"]
    hub.add(SOURCE.repo, SOURCE.file, torch_file(weights(2.0)))
    assert load_file(fetch_from_hub(SOURCE))["a"][0, 0] == 1.0
    assert load_file(fetch_from_hub(SOURCE, renew=True))["a"][0, 0] == 2.0
    assert kept_commit(SOURCE) == COMMITS["next"]


def test_revisions_and_kinds_of_repositories_are_kept_apart(hub):
    hub.add("spaces/o/r", "sub/model.pth", torch_file(weights(3.0)))
    hub.add("o/r", "sub/model.pth", torch_file(weights(4.0)), revision="next")
    space, commit = (parse_name(f"hf://{name}/sub/model.pth") for name in ("spaces/o/r", f"o/r@{COMMITS['next']}"))
    assert load_file(fetch_from_hub(space))["a"][0, 0] == 3.0
    assert load_file(fetch_from_hub(commit))["a"][0, 0] == 4.0
    assert kept_commit(HubFile("o/r", "sub/model.pth")) is None


def test_a_damaged_copy_is_made_again(hub, caplog):
    path = fetch_from_hub(SOURCE)
    path.write_bytes(path.read_bytes()[:-100])
    assert load_file(fetch_from_hub(SOURCE))["b"][299, 6] == 1.0
    assert f"{path} is damaged" in caplog.text


def test_without_room_for_a_copy_the_download_is_used_as_it_is(hub, monkeypatch, tmp_path, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CATSEG_CACHE", str(tmp_path / "file"))
    assert read_checkpoint(fetch_from_hub(SOURCE))["model"].keys() == {"a", "b"}
    assert "is not kept as safetensors" in caplog.text


def test_offline_takes_what_hf_download_left_in_its_cache(hub, monkeypatch):
    fetch_from_hub(SOURCE).unlink()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert load_file(fetch_from_hub(SOURCE))["a"][0, 0] == 1.0
    assert kept_commit(SOURCE) == COMMITS["main"]


def test_offline_without_the_file_says_how_to_get_it(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    text = message()
    assert text.startswith(
        "cannot get model_final_large.pth from the Hugging Face model hamacojr/CAT-Seg (revision main): "
        "HF_HUB_OFFLINE is set"
    )
    assert_says_how_to_get_it(text, hub.endpoint)


def test_no_network_says_how_to_get_the_file(tmp_path, monkeypatch):
    with LocalHub().running() as gone:
        pass
    use_hub(monkeypatch, gone.endpoint, tmp_path / "hub")
    text = message()
    assert "onnection refused" in text
    assert_says_how_to_get_it(text, gone.endpoint)


def test_a_broken_connection_is_taken_up_again(hub):
    hub.cut_after, hub.cuts = 1000, 1
    assert load_file(fetch_from_hub(SOURCE))["b"][299, 6] == 1.0
    assert [method for method, _ in hub.requests].count("GET") == 2


def test_a_connection_that_breaks_again_and_again_leaves_nothing_behind(hub, tmp_path):
    hub.cut_after, hub.cuts = 0, 100
    text = message()
    assert "incomplete" in text or "closed" in text or "disconnected" in text
    assert_says_how_to_get_it(text, hub.endpoint)
    assert [path for path in tmp_path.rglob("*") if path.suffix in (".incomplete", ".pth", ".safetensors")] == []


def test_a_file_that_is_not_as_long_as_the_hub_says_is_refused(hub):
    length = len(hub.files[PLACE])
    hub.sizes[PLACE] = length + 1
    assert f"should be of size {length + 1} but has size {length}" in message()


def test_a_wrong_hash_is_an_error_and_the_file_is_not_used_again(hub, tmp_path):
    hub.hashes[PLACE] = hashlib.sha256(b"the true content").hexdigest()
    text = message(raised=ValueError)
    assert text.startswith("hf://hamacojr/CAT-Seg/model_final_large.pth was damaged on its way: its sha256 is")
    assert_says_how_to_get_it(text, hub.endpoint)
    assert not converted_path(SOURCE).exists()
    del hub.hashes[PLACE]
    assert load_file(fetch_from_hub(SOURCE))["a"][0, 0] == 1.0


def test_a_damaged_file_in_the_hubs_cache_is_found_out_and_downloaded_anew(hub, monkeypatch, tmp_path):
    fetch_from_hub(SOURCE).unlink()
    [blob] = (tmp_path / "hub" / "models--hamacojr--CAT-Seg" / "blobs").iterdir()
    blob.write_bytes(blob.read_bytes().replace(b"\x80\x3f", b"\x80\x3e", 1))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "was damaged" in message(raised=ValueError)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert load_file(fetch_from_hub(SOURCE))["a"].min() == 1.0


def test_small_files_are_checked_by_the_hash_that_git_gives_them(hub):
    content = hub.files[PLACE]
    hub.hashes[PLACE] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    assert load_file(fetch_from_hub(SOURCE))["a"][0, 0] == 1.0
    other = HubFile("o/r", "model.pth")
    hub.add(other.repo, other.file, content)
    hub.hashes[f"o/r/resolve/{COMMITS['main']}/model.pth"] = "0" * 40
    assert "its sha1 is" in message(other, raised=ValueError)


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (404, "EntryNotFound", "the repository has no such file"),
        (404, "RevisionNotFound", "the repository has no such revision"),
        (404, "RepoNotFound", "there is no such repository, or it is private"),
        (401, "GatedRepo", "`hf auth login`"),
        (403, "GatedRepo", "gives it only to those who ask"),
        (500, "", "500"),
    ],
)
def test_a_refusal_says_why_and_how_to_get_the_file(hub, status, code, reason):
    hub.refusals[PLACE] = status, code
    text = message()
    assert re.search(rf"revision main\): .*{re.escape(reason)}", text)
    assert_says_how_to_get_it(text, hub.endpoint)


def test_what_is_no_hub_is_told_from_one(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_HEADER_X_REPO_COMMIT", "X-Other")
    assert "does not seem to be served by a Hugging Face Hub" in message()


def test_without_links_in_its_cache_the_hub_is_asked_for_the_hash(hub, monkeypatch, caplog):
    monkeypatch.setattr("huggingface_hub.file_download.are_symlinks_supported", lambda folder: False)
    hub.hashes[PLACE] = "0" * 64
    assert "its sha256 is" in message(raised=ValueError)
    del hub.hashes[PLACE]
    fetch_from_hub(SOURCE).unlink()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert load_file(fetch_from_hub(SOURCE))["a"][0, 0] == 1.0
    assert "is used unchecked" in caplog.text


def test_the_way_by_hand_names_kind_and_revision(hub):
    source = parse_name("hf://spaces/hamacojr/CAT-Seg-weights@v1/model_large.pth")
    text = message(source)
    assert "`hf download hamacojr/CAT-Seg-weights model_large.pth --repo-type space --revision v1`" in text
    assert f"{hub.endpoint}/spaces/hamacojr/CAT-Seg-weights/resolve/v1/model_large.pth" in text


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("was_run",)


@pytest.mark.parametrize("file", ["model.pth", "model.pkl"])
def test_a_file_with_code_is_refused(hub, monkeypatch, tmp_path, file):
    monkeypatch.chdir(tmp_path)
    content = {"model": {"a": torch.ones(1)}, "x": RunsCode()}
    hub.add("o/r", file, torch_file(content) if file.endswith("pth") else pickle.dumps(content))
    assert "could run code" in message(HubFile("o/r", file), raised=ValueError)
    assert not (tmp_path / "was_run").exists()
    assert not converted_path(HubFile("o/r", file)).exists()


def test_the_author_of_a_pickle_of_arrays_is_kept(hub):
    hub.add("o/r", "R-50.pkl", pickle.dumps({"conv1_w": torch.ones(1).numpy()}, protocol=2))
    assert read_checkpoint(fetch_from_hub(HubFile("o/r", "R-50.pkl")))["__author__"] == "Caffe2"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hf://o/r/f.pth", HubFile("o/r", "f.pth")),
        ("hf://models/o/r/f.pth", HubFile("o/r", "f.pth")),
        ("hf://spaces/o/r/a/f.pth", HubFile("o/r", "a/f.pth", kind="space")),
        ("hf://datasets/o/r@v1.0/f.pth", HubFile("o/r", "f.pth", kind="dataset", revision="v1.0")),
        ("hf://o/r@refs/pr/3/f.pth", HubFile("o/r", "f.pth", revision="refs/pr/3")),
        ("hf://o/r@refs%2Fpr%2F3/f@1.pth", HubFile("o/r", "f@1.pth", revision="refs/pr/3")),
    ],
)
def test_names_are_read_as_the_client_reads_them(name, expected):
    assert parse_name(name) == expected
    assert parse_name(str(expected)) == expected
    theirs = huggingface_hub.utils.parse_hf_uri(name)
    assert (theirs.id, theirs.path_in_repo, theirs.type, theirs.revision or "main") == (
        expected.repo,
        expected.file,
        expected.kind,
        expected.revision,
    )


@pytest.mark.parametrize(
    "name", ["hf://o/r", "hf://o/r/", "hf://spaces/o/r", "hf://o/r/../f.pth", "hf://o/r@/f", "hf:o"]
)
def test_other_names_are_an_error_that_shows_the_form(name):
    with pytest.raises(ValueError, match=r"expected hf://OWNER/REPO/FILE"):
        parse_name(name)
