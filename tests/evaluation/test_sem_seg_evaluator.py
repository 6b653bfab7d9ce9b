import json
import shutil

import detectron2.evaluation
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import inference_on_dataset
from PIL import Image

from catseg.evaluation.sem_seg_evaluator import SemSegEvaluator

CLASSES = ["grass", "sky", "cat"]
SIZE = (6, 8)


inputs_of = {}  # the records of the data sets


@pytest.fixture
def dataset(tmp_path):
    yield from register("evaluator_test", CLASSES, 255, tmp_path)


@pytest.fixture
def large_dataset(tmp_path):
    yield from register("evaluator_large", [f"class {index}" for index in range(847)], 65535, tmp_path)


def register(name, classes, ignore_label, folder):
    MetadataCatalog.get(name).set(
        stuff_classes=classes,
        ignore_label=ignore_label,
        image_root=str(folder / "images"),
        score_groups={"grounds": [0, 1]},
    )
    DatasetCatalog.register(name, lambda: inputs_of[name])
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def make_inputs(folder, n, dtype=np.uint8, num_classes=3, ignore_label=255):
    random = np.random.default_rng(0)
    inputs = []
    for index in range(n):
        labels = random.integers(0, num_classes, SIZE)
        labels[0] = ignore_label
        path = folder / f"labels{index}.png"
        Image.fromarray(labels.astype(dtype)).save(path)
        photo = folder / "images" / "some" / f"photo{index}.jpg"
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(photo)
        inputs.append({"file_name": str(photo), "sem_seg_file_name": str(path), "truth": labels})
    return inputs


def predictions(inputs, num_classes=3):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(num_classes, *SIZE, generator=generator) for _ in inputs]


def expected_matrix(inputs, maps, num_classes=3):
    matrix = np.zeros((num_classes, num_classes), dtype=int)
    for sample, labels in zip(inputs, maps, strict=True):
        for row, column in zip(sample["truth"][1:].ravel(), labels[1:].ravel(), strict=True):
            matrix[row, column] += 1
    return matrix


def test_scores_and_labels_count_the_same(dataset, tmp_path):
    inputs = make_inputs(tmp_path, 4)
    outputs = predictions(inputs)
    maps = [output.argmax(dim=0) for output in outputs]
    by_scores, by_labels = SemSegEvaluator(dataset), SemSegEvaluator(dataset)
    by_scores.process(inputs, [{"sem_seg": output} for output in outputs])
    for sample, labels in zip(inputs, maps, strict=True):
        by_labels.process([sample], [{"labels": labels}])
    np.testing.assert_array_equal(by_scores.matrix, expected_matrix(inputs, maps))
    np.testing.assert_array_equal(by_scores.matrix, by_labels.matrix)
    results = by_scores.evaluate()
    assert results == by_labels.evaluate()
    assert results["sem_seg"]["pACC"] == pytest.approx(100 * by_scores.matrix.trace() / by_scores.matrix.sum())
    assert "mIoU-grounds" in results["sem_seg"]


def test_agrees_with_detectron2(dataset, tmp_path):
    inputs = make_inputs(tmp_path, 2, num_classes=2)  # "cat" is predicted, and never there
    outputs = [{"sem_seg": output} for output in predictions(inputs)]
    inputs_of[dataset] = inputs
    results = []
    for evaluator in (detectron2.evaluation.SemSegEvaluator(dataset), SemSegEvaluator(dataset)):
        evaluator.reset()
        evaluator.process(inputs, outputs)
        results.append(evaluator.evaluate()["sem_seg"])
    theirs, ours = results
    assert ours["mIoU_d2_0.6"] < ours["mIoU"]
    # The main branch, which calls itself 0.6 too, changed the definition.
    assert theirs["mIoU"] in (pytest.approx(ours["mIoU_d2_0.6"]), pytest.approx(ours["mIoU"]))
    same = theirs.keys() & ours.keys() - {"mIoU"}
    assert {"fwIoU", "mACC", "pACC", "IoU-grass", "ACC-cat"} <= same
    assert [ours[name] for name in same] == pytest.approx([theirs[name] for name in same], nan_ok=True)


def test_runs_in_detectron2_inference(dataset, tmp_path):
    inputs = [[sample] for sample in make_inputs(tmp_path, 3)]
    perfect = lambda batch: [{"labels": torch.from_numpy(np.minimum(s["truth"], 2))} for s in batch]
    results = inference_on_dataset(perfect, inputs, SemSegEvaluator(dataset))
    assert results["sem_seg"]["mIoU"] == results["sem_seg"]["pACC"] == 100


def test_scores_bear_the_names_of_classes_with_synonyms(tmp_path, monkeypatch):
    MetadataCatalog.get("evaluator_synonyms").set(stuff_classes=["grass, lawn", ("cat", "kitten")], ignore_label=255)
    drawn = []
    [sample] = make_inputs(tmp_path, 1, num_classes=2)
    monkeypatch.setitem(DatasetCatalog.data, "evaluator_synonyms", lambda: [sample])
    evaluator = SemSegEvaluator(
        "evaluator_synonyms", output_dir=tmp_path, draw=lambda image, labels, names: drawn.append(names) or image
    )
    evaluator.process([sample], [{"labels": torch.from_numpy(sample["truth"].clip(0, 1))}])
    results = evaluator.evaluate()["sem_seg"]
    MetadataCatalog.remove("evaluator_synonyms")
    assert {"IoU-grass, lawn", "IoU-cat, kitten"} <= results.keys()
    assert [names.short_names for names in drawn] == [("grass", "cat")]


def test_reset_forgets(dataset, tmp_path):
    inputs = make_inputs(tmp_path, 1)
    evaluator = SemSegEvaluator(dataset)
    evaluator.process(inputs, [{"labels": torch.zeros(SIZE, dtype=int)}])
    evaluator.reset()
    with pytest.raises(RuntimeError, match="no image of evaluator_test"):
        evaluator.evaluate()


def test_files(dataset, tmp_path):
    inputs = make_inputs(tmp_path, 2)
    inputs[1]["file_name"] = shutil.copy(inputs[1]["file_name"], tmp_path / "other.jpg")
    maps = [output.argmax(dim=0) for output in predictions(inputs)]

    def draw(image, labels, names):
        assert image.shape == (*SIZE, 3)
        assert list(names) == CLASSES
        return np.repeat(labels[..., None] * 100, 3, axis=2).astype(np.uint8)

    out = tmp_path / "out"
    inputs_of[dataset] = inputs
    evaluator = SemSegEvaluator(dataset, output_dir=out, save_labels=True, draw=draw)
    evaluator.process(inputs, [{"labels": labels} for labels in maps])
    results = evaluator.evaluate()["sem_seg"]

    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    # One lies outside of `image_root`, so names begin where all images lie.
    names = ["images/some/photo0", "other"]
    images = [*(f"labels/{name}.png" for name in names), *(f"overlays/{name}.jpg" for name in names)]
    assert files == ["confusion_matrix.npz", *images, "scores.json"]
    for name, labels in zip(names, maps, strict=True):
        written = np.asarray(Image.open(out / "labels" / f"{name}.png"))
        assert written.dtype == np.uint8
        np.testing.assert_array_equal(written, labels)
        assert Image.open(out / "overlays" / f"{name}.jpg").size == SIZE[::-1]
    report = json.loads((out / "scores.json").read_text())
    assert (report["dataset"], report["images"], report["scores"]) == (dataset, 2, results)
    with np.load(out / "confusion_matrix.npz") as archive:
        np.testing.assert_array_equal(archive["matrix"], evaluator.matrix)
        assert archive["classes"].tolist() == CLASSES


def test_images_of_equal_names_have_predictions_of_their_own(dataset, tmp_path):
    MetadataCatalog.remove(dataset)
    MetadataCatalog.get(dataset).set(stuff_classes=CLASSES, ignore_label=255)
    [sample] = make_inputs(tmp_path, 1)
    files = [tmp_path / name for name in ("scene1/0.jpg", "scene2/0.jpg", "scene2/1.jpg", "scene2/1.png", "b/v1.2.jpg")]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        shutil.copy(sample["file_name"], file)
    inputs_of[dataset] = inputs = [sample | {"file_name": str(file)} for file in files]
    evaluator = SemSegEvaluator(dataset, output_dir=tmp_path / "out", save_labels=True)
    maps = [torch.full(SIZE, index % 3) for index in range(len(files))]
    evaluator.process(inputs, [{"labels": labels} for labels in maps])
    for name, labels in zip(["scene1/0", "scene2/0", "scene2/1.jpg", "scene2/1.png", "b/v1.2"], maps, strict=True):
        with Image.open(tmp_path / "out" / "labels" / f"{name}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), labels)


def test_classes_that_no_label_map_holds_are_named(dataset, tmp_path, caplog):
    inputs = make_inputs(tmp_path, 2, num_classes=2)
    evaluator = SemSegEvaluator(dataset)
    evaluator.process(inputs, [{"labels": torch.zeros(SIZE, dtype=int)}] * 2)
    evaluator.evaluate()
    assert "no pixel of class 2 (cat) in 2 label maps; 17 % of the pixels have the ignored value 255" in caplog.text
    caplog.clear()
    inputs = make_inputs(tmp_path, 2)
    evaluator.reset()
    evaluator.process(inputs, [{"labels": torch.zeros(SIZE, dtype=int)}] * 2)
    evaluator.evaluate()
    assert "no pixel" not in caplog.text


def test_undefined_scores_are_null_in_the_file(dataset, tmp_path):
    inputs = make_inputs(tmp_path, 1, num_classes=2)
    evaluator = SemSegEvaluator(dataset, output_dir=tmp_path)
    evaluator.process(inputs, [{"labels": torch.zeros(SIZE, dtype=int)}])
    assert np.isnan(evaluator.evaluate()["sem_seg"]["IoU-cat"])
    assert json.loads((tmp_path / "scores.json").read_text())["scores"]["IoU-cat"] is None


def test_many_classes_use_16_bits(large_dataset, tmp_path):
    inputs = make_inputs(tmp_path, 1, np.uint16, 847, 65535)
    labels = torch.from_numpy(np.minimum(inputs[0]["truth"], 846))
    inputs_of[large_dataset] = inputs
    evaluator = SemSegEvaluator(large_dataset, output_dir=tmp_path / "out", save_labels=True)
    evaluator.process(inputs, [{"labels": labels}])
    assert evaluator.evaluate()["sem_seg"]["pACC"] == 100
    written = np.asarray(Image.open(tmp_path / "out" / "labels" / "some" / "photo0.png"))
    np.testing.assert_array_equal(written, labels)


def test_classes_beyond_the_scored_ones_count_as_the_last(dataset, tmp_path):
    MetadataCatalog.get(dataset).set(scored_classes=["grass", "background"])
    inputs = make_inputs(tmp_path, 3, num_classes=2)
    maps = [output.argmax(dim=0) for output in predictions(inputs)]
    inputs_of[dataset] = inputs
    evaluator = SemSegEvaluator(dataset, output_dir=tmp_path / "out", save_labels=True)
    evaluator.process(inputs, [{"labels": labels} for labels in maps])
    expected = expected_matrix(inputs, [labels.clamp(max=1) for labels in maps], num_classes=2)
    np.testing.assert_array_equal(evaluator.matrix, expected)
    assert {"IoU-grass", "IoU-background"} <= evaluator.evaluate()["sem_seg"].keys()
    with np.load(tmp_path / "out" / "confusion_matrix.npz") as archive:
        assert archive["classes"].tolist() == ["grass", "background"]
    written = np.asarray(Image.open(tmp_path / "out" / "labels" / "some" / "photo0.png"))
    np.testing.assert_array_equal(written, maps[0])  # as predicted
    with pytest.raises(ValueError, match=r"values 3\.\.3, classes are 0\.\.2"):
        evaluator.process(inputs[:1], [{"labels": torch.full(SIZE, 3)}])


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"labels": torch.zeros(8, 6, dtype=int)}, r"labels0\.png is 8 x 6 .*photo0\.jpg is 6 x 8\. .*EXIF"),
        ({"labels": torch.full(SIZE, 3)}, r"photo0\.jpg.*values 3\.\.3, classes are 0\.\.2"),
        ({"sem_seg": torch.rand(4, *SIZE)}, r"photo0\.jpg.*scores 4 classes, evaluator_test has 3"),
        ({"sem_seg": torch.full((3, *SIZE), torch.nan)}, r"photo0\.jpg.*scores are not numbers"),
        (
            {"labels": torch.zeros(SIZE, dtype=int), "scores": torch.full(SIZE, torch.inf)},
            r"photo0\.jpg.*scores are not numbers",
        ),
    ],
)
def test_predictions_that_do_not_fit_are_named(dataset, tmp_path, output, message):
    with pytest.raises(ValueError, match=message):
        SemSegEvaluator(dataset).process(make_inputs(tmp_path, 1), [output])


def test_label_files_that_do_not_fit_are_named(dataset, tmp_path):
    inputs = make_inputs(tmp_path, 1, num_classes=5)
    with pytest.raises(ValueError, match=r"labels0\.png has values that are no class: 3, 4"):
        SemSegEvaluator(dataset).process(inputs, [{"labels": torch.zeros(SIZE, dtype=int)}])


def test_images_need_a_folder(dataset):
    with pytest.raises(ValueError, match="output_dir"):
        SemSegEvaluator(dataset, save_labels=True)


def _evaluate_share(rank, folder, queue):
    """One of two processes: scores every second image."""
    torch.set_num_threads(1)  # a forked process must not use the threads of its parent
    torch.distributed.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    MetadataCatalog.get("evaluator_shared").set(stuff_classes=CLASSES, ignore_label=255)
    inputs = make_inputs(folder / str(rank), 5)
    evaluator = SemSegEvaluator("evaluator_shared")
    for sample, output in list(zip(inputs, predictions(inputs), strict=True))[rank::2]:
        evaluator.process([sample], [{"sem_seg": output}])
    queue.put((rank, evaluator.evaluate()))
    torch.distributed.destroy_process_group()


def test_two_processes_score_as_one(dataset, tmp_path):
    for rank in range(2):
        (tmp_path / str(rank)).mkdir()
    inputs = make_inputs(tmp_path, 5)
    alone = SemSegEvaluator(dataset)
    alone.process(inputs, [{"sem_seg": output} for output in predictions(inputs)])
    expected = {name: value for name, value in alone.evaluate()["sem_seg"].items() if name != "mIoU-grounds"}

    queue = torch.multiprocessing.get_context("fork").SimpleQueue()
    torch.multiprocessing.start_processes(_evaluate_share, (tmp_path, queue), nprocs=2, start_method="fork")
    results = dict(queue.get() for _ in range(2))
    assert results == {0: {"sem_seg": expected}, 1: None}


def test_whoever_watches_gets_each_image_with_its_own_matrix(dataset, tmp_path):
    inputs, seen = make_inputs(tmp_path, 3), []
    evaluator = SemSegEvaluator(dataset, distributed=False, watch=lambda *seen_here: seen.append(seen_here))
    outputs = predictions(inputs)
    evaluator.process(inputs, [{"sem_seg": scores} for scores in outputs])
    assert [sample["file_name"] for sample, *_ in seen] == [sample["file_name"] for sample in inputs]
    for (sample, truth, predicted, counts), scores in zip(seen, outputs, strict=True):
        assert np.array_equal(truth, sample["truth"])
        assert np.array_equal(predicted, scores.argmax(dim=0))
        assert np.array_equal(counts, expected_matrix([sample], [predicted]))
    assert np.array_equal(sum(counts for *_, counts in seen), evaluator.matrix)
