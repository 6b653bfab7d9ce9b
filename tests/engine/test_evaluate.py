import json

import pytest
import torch
from torch import nn

from catseg.engine.evaluate import LabelPredictor, evaluate, find_metric, results_table, write_results
from tests.tiny import tiny_config

RESULTS = {
    "ade": {"sem_seg": {"mIoU": 31.5, "fwIoU": 60.0, "mIoU-unseen": 12.345, "IoU-cat": float("nan")}},
    "voc": {"sem_seg": {"mIoU": 94.6, "fwIoU": 96.0, "IoU-dog": 1.0}},
}


def test_metrics_are_found_by_data_set_and_in_the_first_one():
    assert find_metric(RESULTS, "sem_seg/mIoU") == 31.5
    assert find_metric(RESULTS, "voc/sem_seg/mIoU") == 94.6
    assert find_metric(RESULTS, "voc/sem_seg/IoU-dog") == 1.0


@pytest.mark.parametrize("name", ["mIoU", "sem_seg/AP", "coco/sem_seg/mIoU", "sem_seg/IoU-dog"])
def test_an_unknown_metric_is_an_error_that_lists_those_there_are(name):
    with pytest.raises(ValueError, match=r"ade/sem_seg/fwIoU.*voc/sem_seg/mIoU") as error:
        find_metric(RESULTS, name)
    assert repr(name) in str(error.value)
    assert "IoU-cat" not in str(error.value)


def test_the_table_has_a_row_per_data_set_without_single_classes():
    header, _, ade, voc = results_table(RESULTS).splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == ["dataset", "mIoU", "fwIoU", "mIoU-unseen"]
    assert [cell.strip() for cell in ade.strip("|").split("|")] == ["ade", "31.50", "60.00", "12.35"]
    assert "94.60" in voc


def test_reports_are_valid_json_and_markdown(tmp_path):
    write_results(tmp_path, RESULTS, results_table(RESULTS), weights="some.pth")
    report = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert report["weights"] == "some.pth"
    assert report["results"]["ade"]["sem_seg"] == {**RESULTS["ade"]["sem_seg"], "IoU-cat": None}
    assert "some.pth" in (tmp_path / "results.md").read_text()


class Doubling(nn.Module):
    def predict_labels(self, batched_inputs):
        return [{"labels": item["image"] * 2} for item in batched_inputs]


def test_the_predictor_asks_for_labels_and_keeps_the_mode():
    model = Doubling().eval()
    predictor = LabelPredictor(model)
    assert not predictor.training
    [output] = predictor([{"image": torch.ones(2)}])
    assert output["labels"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("DATALOADER__NUM_WORKERS", -1, r"DATALOADER\.NUM_WORKERS is -1, expected a number of at least 0"),
        ("TEST__IMS_PER_BATCH", 0, r"TEST\.IMS_PER_BATCH is 0, expected a number of at least 1"),
        ("TEST__SAVE_PREDICTIONS", "all", r"TEST\.SAVE_PREDICTIONS is 'all', expected one of"),
    ],
)
def test_values_that_cannot_be_used_are_an_error(tmp_path, key, value, message):
    with pytest.raises(ValueError, match=message):
        evaluate(tiny_config(tmp_path, **{key: value}), None, weights="none")
