from pathlib import Path

from catseg.data.dataset_specs import BENCHMARKS
from catseg.data.downloads import ADE20K_FULL_ARCHIVE, CONTEXT_59_LABELS, VOC_2012, VOC_2012_LABELS


def test_steps():
    root = Path("/my data")
    assert VOC_2012.steps(root) == [
        f"wget -c -P '/my data' {VOC_2012.url}",
        "(cd '/my data' && tar -xf VOCtrainval_11-May-2012.tar)",
    ]
    assert CONTEXT_59_LABELS.steps(root) == [f"wget -c -P '/my data/VOCdevkit/VOC2010' {CONTEXT_59_LABELS.url}"]
    assert VOC_2012_LABELS.steps(root)[0] == (
        f"mkdir -p '/my data' && wget -c -O '/my data/SegmentationClassAug.zip' '{VOC_2012_LABELS.url}'"
    )
    assert ADE20K_FULL_ARCHIVE.steps(root)[0] == (
        f"ask for the file at {ADE20K_FULL_ARCHIVE.url} and save it as '/my data/ADE20K_2021_17_01.zip'"
    )


def test_what_is_unpacked_is_what_was_saved():
    for spec in BENCHMARKS:
        assert spec.downloads
        for download in spec.downloads:
            assert Path(download.file).name in (download.unpack or download.gives)
