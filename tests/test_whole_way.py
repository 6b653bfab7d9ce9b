"""From files to numbers, beside what Detectron2 and a plain transcription of the network make of the same files."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog, detection_utils
from detectron2.data import transforms as T
from detectron2.evaluation import SemSegEvaluator
from detectron2.modeling import build_model
from detectron2.projects.point_rend import ColorAugSSDTransform
from PIL import Image

from benchmarks.plain.catseg import PlainCATSeg
from catseg.checkpoint.checkpointer import Checkpointer
from catseg.data.dataset_mapper import SemSegDatasetMapper
from catseg.engine.evaluate import evaluate
from catseg.inference import Predictor
from catseg.modeling.meta_arch import CATSeg
from catseg.parity.case import load_case
from catseg.parity.catseg_cases import catseg_config, clip_model_config
from catseg.vocabulary import load_vocabulary

CASE = Path(__file__).parent / "parity/cases/catseg/v1_tiny.npz"
NAME = "whole_way"
CLASSES = ["wall", "building, edifice", "sky", "grass"]
# Height and width of the upright image, and EXIF orientation: small, wider than MAX_SIZE_TEST allows, turned, odd.
IMAGES = [(48, 64, 1), (20, 300, 1), (90, 60, 6), (701, 333, 1), (37, 51, 8)]


@pytest.fixture
def records(tmp_path):
    """A registered data set of JPEG files and label maps, which are drawn on the upright images."""
    generator = np.random.default_rng(0)
    made = []
    for index, (height, width, orientation) in enumerate(IMAGES):
        small = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[0x0112] = orientation
        if orientation != 1:  # stored turned, so that viewers turn it back
            image = image.transpose({6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[orientation])
        image.save(tmp_path / f"{index}.jpg", quality=92, exif=exif)
        blocks = Image.fromarray(generator.choice([0, 1, 2, 3, 255], (5, 7)).astype(np.uint8))
        blocks.resize((width, height), Image.Resampling.NEAREST).save(tmp_path / f"{index}.png")
        made.append({"file_name": f"{tmp_path}/{index}.jpg", "sem_seg_file_name": f"{tmp_path}/{index}.png"})
    DatasetCatalog.register(NAME, lambda: made)
    MetadataCatalog.get(NAME).set(stuff_classes=CLASSES, ignore_label=255)
    yield made
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


@pytest.fixture
def cfg(tmp_path) -> CfgNode:
    """A small version 1 whose checkpoint, `model.pth`, has the names that the authors publish."""
    case = load_case(CASE)
    torch.save({"model": case.state_dict()}, tmp_path / "model.pth")
    clip_file = tmp_path / "clip.json"
    clip_file.write_text(json.dumps(clip_model_config(case.config["clip"])))
    cfg = catseg_config(case.config, clip_file, torch.device("cpu"))
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (NAME,)
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE = True, "absolute"
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 640, 2560
    cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    return cfg


@pytest.fixture
def model(cfg) -> CATSeg:
    model = build_model(cfg)
    Checkpointer(model).load(cfg.MODEL.WEIGHTS)
    return model.eval()


def plain_probabilities(cfg: CfgNode, model: CATSeg, record: dict[str, str]) -> torch.Tensor:
    """Read a file as Detectron2 does, and run the plain network on it: `(T, H, W)`."""
    sample = DatasetMapper(cfg, is_train=False)(dict(record))
    width, height = Image.open(record["sem_seg_file_name"]).size
    with torch.no_grad():
        return PlainCATSeg(model, cfg).eval()(
            sample["image"], model.text_features(load_vocabulary(CLASSES)), (height, width)
        )


def test_from_files_to_iou(records, cfg, model):
    ours = evaluate(cfg, model, weights="model.pth")[NAME]["sem_seg"]
    theirs = SemSegEvaluator(NAME, distributed=False)
    theirs.reset()
    for record in records:
        theirs.process([record], [{"sem_seg": plain_probabilities(cfg, model, record)}])
    expected = theirs.evaluate()["sem_seg"]
    for name in ("mIoU", *(f"IoU-{name}" for name in CLASSES)):
        # In percent: of a million pixels, one may have two classes that are equal but for rounding.
        assert ours[name] == pytest.approx(expected[name], abs=1e-3, nan_ok=True), name


def test_from_file_to_probabilities(records, cfg, model):
    predictor = Predictor.from_config(write(cfg), classes=CLASSES)
    for record in records:
        found = predictor(record["file_name"], class_scores=True)
        expected = plain_probabilities(cfg, model, record)
        assert found.labels.shape == expected.shape[1:]
        np.testing.assert_allclose(found.class_scores, expected.numpy(), atol=1e-5)


def write(cfg: CfgNode) -> Path:
    path = Path(cfg.OUTPUT_DIR).with_suffix(".yaml")
    path.write_text(cfg.dump())
    return path


@pytest.mark.parametrize("seed", range(3))
def test_from_files_to_a_training_sample(records, cfg, seed):
    cfg.INPUT.MIN_SIZE_TRAIN = (64, 96)
    cfg.INPUT.CROP.SIZE = (80, 80)
    mapper = SemSegDatasetMapper(cfg, is_train=True)
    for record in records:
        seed_generators(seed)
        ours = mapper(record)
        seed_generators(seed)
        image, labels = detectron2_sample(cfg, record)
        assert torch.equal(ours["image"], image)
        assert torch.equal(ours["sem_seg"], labels)


def seed_generators(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (Detectron2 draws from the global generator)


def detectron2_sample(cfg: CfgNode, record: dict[str, str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Read and augment with Detectron2's own functions, in the published order, and pad at the right and bottom."""
    options, side = cfg.INPUT, cfg.INPUT.CROP.SIZE[0]
    augmentations = [
        T.ResizeShortestEdge(options.MIN_SIZE_TRAIN, options.MAX_SIZE_TRAIN, options.MIN_SIZE_TRAIN_SAMPLING),
        T.RandomCrop_CategoryAreaConstraint(
            options.CROP.TYPE, options.CROP.SIZE, options.CROP.SINGLE_CATEGORY_MAX_AREA, 255
        ),
        *([ColorAugSSDTransform(img_format="RGB")] if options.COLOR_AUG_SSD else []),
        T.RandomFlip(),
    ]
    image = detection_utils.read_image(record["file_name"], format="RGB")
    labels = detection_utils.read_image(record["sem_seg_file_name"]).astype("double")
    augmented = T.AugInput(image, sem_seg=labels)
    T.AugmentationList(augmentations)(augmented)
    image, labels = np.array(augmented.image), np.array(augmented.sem_seg)
    bottom, right = max(0, side - image.shape[0]), max(0, side - image.shape[1])
    image = np.pad(image, ((0, bottom), (0, right), (0, 0)), constant_values=128)
    labels = np.pad(labels, ((0, bottom), (0, right)), constant_values=255)
    return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(labels).long()
