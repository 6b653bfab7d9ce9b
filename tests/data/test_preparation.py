from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from PIL import Image

from catseg.data import preparation
from catseg.data.dataset_mapper import SemSegDatasetMapper
from catseg.data.dataset_specs import ADE20K_150
from catseg.data.preparation import main
from catseg.label_io import read_label_map
from tests.miniature import make_miniature_ade20k

CLASS_OF_VALUE = {0: 255} | {value: value - 1 for value in range(1, 151)}


def prepare(root, *arguments):
    options = ["--root", str(root), "--workers", "2", *arguments]
    return main("Prepares.", ADE20K_150, CLASS_OF_VALUE, options)


@pytest.fixture
def download(tmp_path):
    make_miniature_ade20k(tmp_path, 3, longest_side=64)
    return tmp_path


def label_files(root, spec=ADE20K_150[0]):
    return sorted((root / spec.label_dir).glob("*"))


def test_values_become_classes(download, capsys):
    assert prepare(download, "--subset") == 0
    assert "6 of 6 label maps are ready" in capsys.readouterr().out
    for spec in ADE20K_150:
        written = label_files(download, spec)
        assert len(written) == 3
        for path in written:
            source = np.asarray(Image.open(download / spec.source_label_dir / path.name))
            labels = np.asarray(Image.open(path))
            assert labels.dtype == np.uint8
            np.testing.assert_array_equal(labels, source - np.uint8(1))


def test_an_exif_orientation_changes_nothing(download):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    for spec in ADE20K_150:
        for path in (download / spec.image_dir).glob("*"):
            Image.open(path).save(path, exif=exif)
    assert prepare(download, "--subset") == 0
    record = {
        "file_name": sorted((download / ADE20K_150[1].image_dir).glob("*"))[0],
        "sem_seg_file_name": label_files(download, ADE20K_150[1])[0],
    }
    image = SemSegDatasetMapper(augmentations=None)(record)["image"]
    assert image.shape[1:] == read_label_map(record["sem_seg_file_name"]).shape


def test_one_split(download):
    assert prepare(download, "--subset", "--splits", "validation") == 0
    assert len(label_files(download, ADE20K_150[1])) == 3
    assert label_files(download, ADE20K_150[0]) == []


def test_whole_files_are_kept_and_damaged_ones_replaced(download):
    prepare(download, "--subset")
    first, second, third = label_files(download)
    before = {path: path.read_bytes() for path in (first, second, third)}
    second.write_bytes(before[second][:40])
    Image.fromarray(np.zeros((3, 3), dtype=np.uint8)).save(third)
    unchanged = first.stat().st_mtime_ns
    assert prepare(download, "--subset") == 0
    assert {path: path.read_bytes() for path in label_files(download)} == before
    assert first.stat().st_mtime_ns == unchanged


def test_incomplete_downloads_are_refused(download, capsys):
    assert prepare(download) == 2
    errors = capsys.readouterr().err
    assert "images/training has 3 of 20210 images" in errors
    assert "images/validation has 3 of 2000 images" in errors
    assert "ADEChallengeData2016.zip" in errors
    assert label_files(download) == []


def test_all_that_is_missing_is_listed(download, capsys):
    (download / ADE20K_150[0].source_label_dir / "ADE_train_00000002.png").unlink()
    (download / ADE20K_150[1].image_dir / "ADE_val_00000001.jpg").unlink()
    assert prepare(download, "--subset") == 2
    errors = capsys.readouterr().err
    assert f"no label map for 1 images of {download / ADE20K_150[0].image_dir}: ADE_train_00000002" in errors
    assert f"no image for 1 label maps of {download / ADE20K_150[1].source_label_dir}: ADE_val_00000001" in errors
    assert label_files(download) == []


def test_missing_download(tmp_path, capsys):
    assert prepare(tmp_path) == 2
    assert f"the folder {tmp_path / ADE20K_150[0].image_dir} is missing" in capsys.readouterr().err


def test_bad_files_are_reported_and_the_rest_is_done(download, capsys):
    sources, images = download / ADE20K_150[0].source_label_dir, download / ADE20K_150[0].image_dir
    whole = (sources / "ADE_train_00000001.png").read_bytes()
    (sources / "ADE_train_00000001.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.full((64, 43), 151, dtype=np.uint8)).save(sources / "ADE_train_00000002.png")
    (images / "ADE_train_00000003.jpg").write_bytes(b"no image")
    Image.fromarray(np.full((43, 64), 151, dtype=np.uint8)).save(
        download / ADE20K_150[1].source_label_dir / "ADE_val_00000001.png"
    )
    assert prepare(download, "--subset") == 1
    output = capsys.readouterr()
    assert "2 of 6 label maps are ready" in output.out
    assert "4 could not be made" in output.err
    for words in (
        "ADE_train_00000001.png cannot be decoded",
        "ADE_train_00000002.png has the size (64, 43), its image (43, 64)",
        "cannot identify image file",
        "ADE_val_00000001.png has the unknown value 151",
    ):
        assert words in output.err
    assert label_files(download) == []
    assert [path.name for path in label_files(download, ADE20K_150[1])] == [
        "ADE_val_00000002.png",
        "ADE_val_00000003.png",
    ]


def test_16_bit_values_are_not_cut_to_8(download, capsys):
    path = download / ADE20K_150[0].source_label_dir / "ADE_train_00000001.png"
    values = np.asarray(Image.open(path)).astype(np.uint16)
    Image.fromarray(values + 256).save(path)
    assert prepare(download, "--subset") == 1
    assert "unknown value" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [(KeyboardInterrupt, 130, "Interrupted"), (BrokenProcessPool, 1, "worker process died")],
)
def test_interrupted_runs_say_so_and_can_go_on(download, monkeypatch, capsys, error, status, words):
    def stop_after_first(results, **options):
        yield next(results)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(preparation, "tqdm", stop_after_first)
        assert prepare(download, "--subset") == status
    assert words in capsys.readouterr().err
    assert not [path for path in label_files(download) if "partial" in path.name]
    assert prepare(download, "--subset") == 0


def test_bad_arguments(tmp_path, capsys):
    for arguments in (["--workers", "0"], ["--splits", "test"]):
        with pytest.raises(SystemExit) as error:
            prepare(tmp_path, *arguments)
        assert error.value.code == 2
        assert arguments[1] in capsys.readouterr().err
