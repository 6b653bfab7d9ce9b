import pytest

from catseg.benchmark.plan import Pair, find_datasets, find_models
from catseg.benchmark.published import BENCHMARKS, MODELS
from catseg.data.registration import register_datasets


@pytest.fixture(autouse=True)
def _registered():
    register_datasets()


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "mine.yaml"
    path.touch()
    return path


def test_published_models_bring_their_config_and_weights():
    [model] = find_models(["V2-Large"])
    assert (model.name, model.config_file.name, model.weights) == (
        "v2-large",
        "catseg_v2_large.yaml",
        "catseg://v2-large",
    )
    assert [model.name for model in find_models(["v2-base", "all"])] == ["v2-base", *(set_without("v2-base"))]


def set_without(name):
    return [model for model in MODELS if model != name]


@pytest.mark.parametrize(
    ("name", "weights"), [(None, None), (None, "a.pth"), ("ours", "runs/a=b:c.pth"), ("ours", "hf://o/r/f.pth")]
)
def test_models_of_ones_own(config, name, weights):
    word = f"{name}=" * bool(name) + str(config) + f":{weights}" * bool(weights)
    [model] = find_models([word, word])
    assert (model.name, model.config_file, model.weights) == (name or "mine", config, weights)


def test_two_models_need_two_names(config):
    with pytest.raises(ValueError, match=r"two models would be called 'mine': .*NAME=.*mine\.yaml:b\.pth"):
        find_models([f"{config}:a.pth", f"{config}:b.pth"])
    with pytest.raises(ValueError, match="two models"):
        find_models([f"a b={config}:a.pth", f"A_b={config}:a.pth"])


def test_folders_are_safe(config):
    [model] = find_models([f"..<x>={config}"])
    assert model.folder == "_x_"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("v2-larg", "did you mean v2-large"),
        ("zzz", "there are v1-base, .*CONFIG.yaml:WEIGHTS"),
        ("gone.yaml:a.pth", "needs the config file gone.yaml"),
    ],
)
def test_unknown_models_are_named(word, message):
    with pytest.raises(ValueError, match=message):
        find_models([word])


def test_data_sets_by_the_names_of_papers_and_by_their_own():
    words = ["a-150", "ade20k_150_test_sem_seg", "shapes_train_sem_seg", "PAS-20b"]
    found = find_datasets(words)
    assert found == ["ade20k_150_test_sem_seg", "shapes_train_sem_seg", "voc_2012_test_background_sem_seg"]
    assert find_datasets(["all"]) == list(BENCHMARKS.values())


@pytest.mark.parametrize(
    ("word", "message"),
    [("A-15", "did you mean A-150"), ("shapes_tran_sem_seg", "shapes_train_sem_seg"), ("?", "there are")],
)
def test_unknown_data_sets_are_named(word, message):
    with pytest.raises(ValueError, match=message):
        find_datasets([word])


def test_pairs_are_named_as_in_papers():
    [model] = find_models(["v1-base"])
    assert str(Pair(model, "context_59_test_sem_seg")) == "v1-base on PC-59"
