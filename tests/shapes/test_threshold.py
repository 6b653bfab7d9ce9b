import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from catseg.shapes.threshold import measure
from tests.fake_module import fake_model


@pytest.fixture
def dataset(tmp_path):
    """One image with two classes: the first in the left half, the second in the right one."""
    Image.new("RGB", (40, 20), "white").save(tmp_path / "image.png")
    labels = np.zeros((20, 40), dtype=np.uint8)
    labels[:, 20:] = 1
    labels[:, 38:] = 255
    Image.fromarray(labels).save(tmp_path / "labels.png")
    record = {"file_name": str(tmp_path / "image.png"), "sem_seg_file_name": str(tmp_path / "labels.png")}
    name = "threshold_test"
    DatasetCatalog.register(name, lambda: [record])
    MetadataCatalog.get(name).set(stuff_classes=["red", "green", "blue", "white"])
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def test_shares_of_pixels(dataset):
    """The model sees the first of two classes on the left, the second on the right, at 0.75, whatever they are."""
    low, high = measure(fake_model(), dataset, classes=2, thresholds=(0.5, 0.8))
    assert low.found in (0.0, 1.0), "two classes are right or the wrong way round"
    assert (low.left, low.rejected) == (0.0, 0.0)
    assert (high.found, high.left, high.rejected) == (0.0, 0.0, 1.0)
    (one,) = measure(fake_model(), dataset, classes=1, thresholds=(0.5,))
    assert (one.found, one.left) == (1.0, 0.0), "one class is seen everywhere"
