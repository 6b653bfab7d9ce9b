import numpy as np

from catseg.evaluation.confusion import describe_classes, find_confusions
from catseg.pages.charts import curves
from catseg.pages.run_report import ConfusionMatrix, DatasetReport, RunReport, run_report
from tests.pages.html import Page

NASTY = '<i>a</i> & "b"'


def report(**changes):
    values = {
        "title": NASTY,
        "subtitle": "today",
        "facts": {"weights": NASTY},
        "versions": {"torch": "2"},
        "datasets": [],
        "settings": [("KEY", NASTY, "''")],
        "config": f"KEY: {NASTY}",
        "command": f"python {NASTY}",
        "folder": "/home",
    }
    return RunReport(**{**values, **changes})


def dataset(names, **changes):
    matrix = np.eye(len(names), dtype=np.int64) + 1
    values = {
        "name": "toy",
        "images": 3,
        "scores": {"mIoU": 12.345},
        "classes": describe_classes(matrix, names),
        "absent": [],
        "confusions": find_confusions(matrix, names, 30),
        "matrix": ConfusionMatrix(names[:2], len(names), [[50.0, 0.0, 50.0], [None, None, None]]),
        "worst": [],
        "best": [],
    }
    return DatasetReport(**{**values, **changes})


def test_everything_is_escaped():
    image = {
        "name": NASTY,
        "iou": 1.0,
        "source": "data:image/webp;base64,AA==",
        "classes": [{"name": NASTY, "css": "rgb(1, 2, 3)", "iou": None, "truth": 0.0, "predicted": 0.5}],
    }
    text = run_report(report(datasets=[dataset([NASTY, "sky"], worst=[image], best=[image], absent=[NASTY])]))
    page = Page(text)
    assert "i" not in page.tags
    assert page.needs_other_files == []
    # Title twice, fact, setting, config, command, class, twice two confusions, matrix twice, chips and images, absent.
    assert sum(NASTY in words for words in page.texts) >= 14


def test_curves_and_notes_are_shown():
    chart = curves("Loss", {"total_loss": [(0, 2.0), (20, 1.0)]}, last=20)
    page = Page(run_report(report(charts=[chart], notes=["Nothing was evaluated."])))
    assert page.tags.count("polyline") == 1
    assert page.tags.count("circle") == 2
    assert {"Curves", "Nothing was evaluated."} <= set(page.texts)
    assert "polyline" not in Page(run_report(report())).tags


def test_many_classes_can_be_filtered_and_the_matrix_says_what_it_leaves_out():
    names = [f"class {index}" for index in range(847)]
    text = run_report(report(datasets=[dataset(names, absent=names[:25])]))
    page = Page(text)
    assert page.tags.count("input") == 1
    assert "The 2 of 847 classes with most wrong pixels; all are in evaluation/toy/confusion_matrix.npz." in text
    assert "class 19 and 5 more." in text
    assert len(text) < 1_500_000
    few = run_report(report(datasets=[dataset(names[:2])]))
    assert "input" not in Page(few).tags
    assert "classes with most wrong pixels" not in few


def test_without_errors_there_is_no_matrix():
    right = DatasetReport("toy", 3, {}, [], [], [], None, [], [])
    page = Page(run_report(report(datasets=[right])))
    assert "No pixel is wrong." in page.texts
    assert "Confusion matrix" not in page.texts
