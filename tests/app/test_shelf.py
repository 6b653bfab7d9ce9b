import pytest

from catseg.app.shelf import Shelf
from catseg.errors import InputError, RunError
from tests.fake_module import fake_model


def shelf(words=("shapes", "v2-base", "v2-large"), load=lambda word, device: fake_model(), **options):
    return Shelf(words, load=load, device="cpu", **options)


def test_models_are_loaded_once_and_the_last_two_stay():
    loads = []

    def load(word, device):
        loads.append(word)
        return fake_model()

    made = shelf(load=load)
    made.load_default()
    first = made.get("shapes", "cpu")
    assert made.get("shapes", "cpu") is first
    made.get("v2-base", "cpu")
    made.get("v2-large", "cpu")
    assert loads == ["shapes", "v2-base", "v2-large"]
    assert made.names_loaded == ["v2-base", "v2-large"]
    assert made.loaded("shapes", "cpu") is None


def test_what_cannot_be_chosen():
    with pytest.raises(InputError, match="no model is called '/etc' here; there are shapes, v2-base, v2-large"):
        shelf().get("/etc", "cpu")
    with pytest.raises(InputError, match="no device is called 'cuda:7'"):
        shelf().get("shapes", "cuda:7")


def test_callers_are_not_told_paths(caplog):
    def load(word, device):
        raise FileNotFoundError("/home/me/secret/model.pth is not there")

    with pytest.raises(RunError, match=r"^the model shapes cannot be loaded on cpu here, the server's log says why"):
        shelf(load=load).get("shapes", "cpu")
    assert "/home/me/secret" in caplog.text


def test_models_of_a_path_are_known_by_their_name(tmp_path):
    (tmp_path / "mine.yaml").write_text("")
    made = shelf([f"{tmp_path}/mine.yaml:{tmp_path}/a.pth", "shapes"])
    assert list(made.models) == ["mine", "shapes"]
    assert made.default_model == "mine"
