import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog
from PIL import Image, ImageOps

from catseg.config import add_catseg_config
from catseg.data.dataset_mapper import SemSegDatasetMapper
from catseg.errors import InputError, UserError

CLASSES = ["grass", "sky", "cat"]


@pytest.fixture
def registered():
    """Registers data sets by name and metadata, and forgets them afterwards."""
    names = []

    def register(name, ignore_label=255, classes=CLASSES):
        DatasetCatalog.register(name, list)
        MetadataCatalog.get(name).set(stuff_classes=classes, ignore_label=ignore_label)
        names.append(name)
        return name

    yield register
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def cfg(registered):
    cfg = get_cfg()
    add_catseg_config(cfg)
    cfg.DATASETS.TRAIN = (registered("mapper_train"),)
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.MIN_SIZE_TEST = 0
    cfg.INPUT.MIN_SIZE_TRAIN = (64,)
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.CROP.TYPE = "absolute"
    cfg.INPUT.CROP.SIZE = [64, 64]
    return cfg


@pytest.fixture
def record(tmp_path):
    return make_record(tmp_path)


def make_record(folder, mode="RGB", suffix="png", labels=None, **options):
    values = np.random.default_rng(0).integers(0, 255, (50, 80, 3), dtype=np.uint8)
    labels = (values[..., 0] % 3) if labels is None else labels
    Image.fromarray(values).convert(mode).save(folder / f"image.{suffix}", **options)
    Image.fromarray(labels).save(folder / "labels.png")
    return {"file_name": str(folder / f"image.{suffix}"), "sem_seg_file_name": str(folder / "labels.png")}


def test_training_sample(cfg, record):
    before = dict(record)
    sample = SemSegDatasetMapper(cfg, is_train=True)(record)
    assert record == before
    assert sample["image"].dtype == torch.uint8
    assert sample["image"].shape == (3, 64, 64)
    assert sample["sem_seg"].dtype == torch.int64
    assert sample["sem_seg"].shape == (64, 64)
    assert set(sample["sem_seg"].unique().tolist()) == {0, 1, 2}
    assert (sample["height"], sample["width"]) == (50, 80)
    assert sample["file_name"] == record["file_name"]


def test_inference_sample_keeps_the_image(cfg, record):
    sample = SemSegDatasetMapper(cfg, is_train=False)(record)
    expected = np.asarray(Image.open(record["file_name"]))
    np.testing.assert_array_equal(sample["image"].permute(1, 2, 0).numpy(), expected)
    assert sample["image"].dtype == torch.uint8
    assert "sem_seg" not in sample
    assert {key: sample[key] for key in record} == record


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "jpg"), ("CMYK", "jpg"), ("RGBA", "png"), ("P", "png"), ("LA", "png"), ("1", "png")]
)
@pytest.mark.parametrize("is_train", [True, False])
def test_images_of_any_kind_become_rgb(cfg, tmp_path, mode, suffix, is_train):
    sample = SemSegDatasetMapper(cfg, is_train=is_train)(make_record(tmp_path, mode, suffix))
    assert sample["image"].shape == ((3, 64, 64) if is_train else (3, 50, 80))


def test_images_are_upright_as_their_labels_are(cfg, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    upright = np.random.default_rng(1).integers(0, 3, (80, 50), dtype=np.uint8)
    record = make_record(tmp_path, suffix="jpg", exif=exif, labels=upright)
    sample = SemSegDatasetMapper(cfg, is_train=False)(record)
    turned = ImageOps.exif_transpose(Image.open(record["file_name"]))
    np.testing.assert_array_equal(sample["image"].permute(1, 2, 0).numpy(), np.asarray(turned))
    assert (sample["height"], sample["width"]) == (80, 50)
    assert SemSegDatasetMapper(cfg, is_train=True)(record)["height"] == 80


def test_labels_that_are_drawn_on_the_stored_rows_and_columns(cfg, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    record = make_record(tmp_path, suffix="jpg", exif=exif)
    with pytest.raises(ValueError, match=r"is 80 x 50 .* is 50 x 80\. .*EXIF.*ignore_exif_orientation=True"):
        SemSegDatasetMapper(cfg, is_train=True)(record)
    for is_train in (True, False):
        sample = SemSegDatasetMapper(cfg, is_train=is_train)({**record, "upright": False})
        assert (sample["height"], sample["width"]) == (50, 80)


@pytest.mark.parametrize(("size", "expected"), [((50, 80), (20, 32)), ((80, 50), (32, 20)), ((10, 90), (7, 60))])
def test_images_for_inference_are_resized_as_detectron2_does(cfg, tmp_path, size, expected):
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 20, 60
    values = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "image.jpg")
    sample = SemSegDatasetMapper(cfg, is_train=False)({"file_name": str(tmp_path / "image.jpg")})
    theirs = DatasetMapper(cfg, is_train=False)({"file_name": str(tmp_path / "image.jpg")})
    assert sample["image"].shape == (3, *expected)
    assert torch.equal(sample["image"], theirs["image"])
    assert (sample["height"], sample["width"]) == size


def test_16_bit_labels_and_another_ignored_label(cfg, registered, tmp_path):
    cfg.DATASETS.TRAIN = (registered("mapper_16_bit", 65535, [f"class {index}" for index in range(847)]),)
    cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = 65535
    cfg.INPUT.CROP.SIZE = [128, 128]
    labels = np.full((50, 80), 846, dtype=np.uint16)
    labels[:, :40] = 65535
    sample = SemSegDatasetMapper(cfg, is_train=True)(make_record(tmp_path, labels=labels))
    assert sample["sem_seg"].shape == (128, 128)
    assert set(sample["sem_seg"].unique().tolist()) == {846, 65535}


def test_bad_files_are_named(cfg, record, tmp_path):
    mapper = SemSegDatasetMapper(cfg, is_train=True)
    Image.fromarray(np.full((50, 80), 3, dtype=np.uint8)).save(tmp_path / "three.png")
    with pytest.raises(ValueError, match=r"three\.png has values that are no class: 3"):
        mapper({**record, "sem_seg_file_name": str(tmp_path / "three.png")})
    Image.fromarray(np.zeros((80, 50), dtype=np.uint8)).save(tmp_path / "turned.png")
    with pytest.raises(ValueError, match=r"turned\.png is 50 x 80 .*image\.png is 80 x 50"):
        mapper({**record, "sem_seg_file_name": str(tmp_path / "turned.png")})
    (tmp_path / "cut.png").write_bytes((tmp_path / "image.png").read_bytes()[:1000])
    for is_train in (True, False):
        with pytest.raises(ValueError, match=r"cut\.png"):
            SemSegDatasetMapper(cfg, is_train=is_train)({**record, "file_name": str(tmp_path / "cut.png")})
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        mapper({**record, "file_name": str(tmp_path / "nowhere.png")})


def test_an_image_too_narrow_to_be_resized_is_named(cfg, tmp_path):
    cfg.INPUT.MAX_SIZE_TRAIN = 128
    for name in ("line.png", "labels.png"):
        Image.new("L", (5000, 1)).save(tmp_path / name)
    record = {"file_name": str(tmp_path / "line.png"), "sem_seg_file_name": str(tmp_path / "labels.png")}
    with pytest.raises(InputError, match=r"line\.png, 5000 x 1 pixels, cannot be augmented: .* too narrow"):
        SemSegDatasetMapper(cfg, is_train=True)(record)


@pytest.mark.parametrize("is_train", [True, False])
def test_faults_of_the_code_are_not_taken_for_faults_of_the_file(cfg, record, monkeypatch, is_train):
    def broken(augmented):
        raise ValueError("a fault of an augmentation")

    mapper = SemSegDatasetMapper(cfg, is_train=is_train)
    monkeypatch.setattr(mapper, "augmentations" if is_train else "resize", broken)
    with pytest.raises(ValueError, match="a fault of an augmentation") as raised:
        mapper(record)
    assert not isinstance(raised.value, UserError)


def test_bad_settings_are_refused(cfg, registered):
    other = cfg.clone()
    other.INPUT.FORMAT = "BGR"
    with pytest.raises(ValueError, match=r"INPUT\.FORMAT must be RGB.*'BGR'"):
        SemSegDatasetMapper(other, is_train=False)
    other = cfg.clone()
    other.INPUT.CROP.TYPE = "relative"
    with pytest.raises(ValueError, match=r"INPUT\.CROP\.TYPE must be absolute.*'relative'"):
        SemSegDatasetMapper(other, is_train=True)
    other = cfg.clone()
    other.DATASETS.TRAIN = ()
    with pytest.raises(ValueError, match=r"DATASETS\.TRAIN"):
        SemSegDatasetMapper(other, is_train=True)
    other.DATASETS.TRAIN = (registered("mapper_ignores_0", ignore_label=0),)
    with pytest.raises(ValueError, match=r"mapper_ignores_0 ignores the label 0: set MODEL.*IGNORE_VALUE"):
        SemSegDatasetMapper(other, is_train=True)
    other.DATASETS.TRAIN = ("mapper_train", registered("mapper_other", classes=["dog"]))
    with pytest.raises(ValueError, match="different metadata 'stuff_classes'"):
        SemSegDatasetMapper(other, is_train=True)
