from pathlib import Path

import pytest

from catseg.benchmark.published import BENCHMARKS, MODELS, paper_name, published_miou, published_table
from catseg.checkpoint.sources import PUBLISHED
from catseg.data.dataset_specs import DATASETS

README = Path(__file__).parents[2] / "README.md"


def test_every_published_checkpoint_has_numbers_with_a_source():
    assert set(MODELS) == set(PUBLISHED)
    for model in MODELS.values():
        assert list(model.miou) == list(BENCHMARKS)
        assert "2303.11797" in model.source


def test_every_benchmark_is_registered():
    assert set(BENCHMARKS.values()) <= {spec.name for spec in DATASETS}


def test_numbers_are_found_by_model_and_registered_name():
    assert published_miou("v2-large", "ade20k_150_test_sem_seg") == 37.9
    assert published_miou("v1-base", "ade20k_full_sem_seg_freq_val_all") == 8.9
    assert published_miou("v1-large", "shapes_train_sem_seg") is None
    assert published_miou("mine", "ade20k_150_test_sem_seg") is None


@pytest.mark.parametrize(("dataset", "name"), [("voc_2012_test_sem_seg", "PAS-20"), ("mine", "mine")])
def test_data_sets_have_the_names_of_papers(dataset, name):
    assert paper_name(dataset) == name


def test_the_readme_has_this_table():
    assert published_table() in README.read_text(encoding="utf-8")
