import errno
import hashlib
import os
import shutil
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from detectron2.data.transforms import AugmentationList
from PIL import Image

from catseg.data.dataset_mapper import SemSegDatasetMapper
from catseg.data.dataset_specs import ADE20K_150, PASCAL_VOC_20
from catseg.data.preparation import making
from catseg.data.preparation.command import main
from catseg.data.preparation.jobs import read_names
from catseg.data.preparation.mapped import ade20k_150, pascal_voc
from catseg.data.registration import load_records
from catseg.label_io import read_label_map
from tests.miniature import make_miniature_ade20k
from tests.miniature_benchmarks import make_miniature_voc


def prepare(root, *arguments, specs=ADE20K_150):
    options = ["--root", str(root), "--workers", "2", *arguments]
    return main("Prepares.", [(spec, ade20k_150()) for spec in specs], options)


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    return make_miniature_ade20k(tmp_path_factory.mktemp("original"), 3, longest_side=64).parent


@pytest.fixture
def download(original, tmp_path):
    return shutil.copytree(original, tmp_path / "data")


def label_files(root, spec=ADE20K_150[0]):
    return sorted((root / spec.label_dir).glob("*"))


def manifest_of(root, spec=ADE20K_150[0]):
    return root / f"{spec.label_dir}.sha256"


def states(files):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_values_become_classes(download):
    assert prepare(download, "--subset") == 0
    for spec in ADE20K_150:
        written = label_files(download, spec)
        assert len(written) == 3
        for path in written:
            source = np.asarray(Image.open(download / spec.source_label_dir / path.name))
            labels = np.asarray(Image.open(path))
            assert labels.dtype == np.uint8
            np.testing.assert_array_equal(labels, source - np.uint8(1))


@pytest.mark.parametrize("upright", [True, False])
def test_an_exif_orientation_changes_nothing(download, upright):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    for spec in ADE20K_150:
        for path in (download / spec.image_dir).glob("*"):
            image = Image.open(path)
            if upright:  # labels are drawn on what viewers show
                image = image.transpose(Image.Transpose.ROTATE_90)
            image.save(path, exif=exif)
    assert prepare(download, "--subset") == 0
    record = {
        "file_name": sorted((download / ADE20K_150[1].image_dir).glob("*"))[0],
        "sem_seg_file_name": label_files(download, ADE20K_150[1])[0],
    }
    mapper = SemSegDatasetMapper(resize=AugmentationList([]))
    image = mapper({**record, "upright": upright})["image"]
    assert image.shape[1:] == read_label_map(record["sem_seg_file_name"]).shape


def test_suffixes_in_any_case(download, capsys):
    for folder, suffix in (("image_dir", ".JPG"), ("source_label_dir", ".Png")):
        first, second, _ = sorted((download / getattr(ADE20K_150[0], folder)).iterdir())
        first.rename(first.with_suffix(suffix))
        if folder == "image_dir":
            second.rename(second.with_suffix(suffix))
    assert prepare(download, "--subset") == 0
    assert f"{ADE20K_150[0].name}: 3 of 3 label maps are ready" in capsys.readouterr().out
    assert len(load_records(ADE20K_150[0], download)) == 3


@pytest.mark.parametrize("damage", ["file", "folder"])
def test_debug_shows_tracebacks(download, capsys, monkeypatch, damage):
    monkeypatch.setenv("CATSEG_DEBUG", "")
    folder = download / ADE20K_150[0].source_label_dir
    if damage == "file":
        sorted(folder.iterdir())[0].write_bytes(b"no image")
        assert prepare(download, "--subset", "--debug") == 1
        assert "Traceback" in capsys.readouterr().err
    else:
        recipe = replace(ade20k_150(), names=lambda spec, root: read_names(root / "names.txt"))
        with pytest.raises(FileNotFoundError, match=r"names\.txt is missing"):
            main("Prepares.", [(ADE20K_150[0], recipe)], ["--root", str(download), "--debug"])


def test_one_split(download):
    assert prepare(download, "--subset", "--splits", "validation") == 0
    assert len(label_files(download, ADE20K_150[1])) == 3
    assert label_files(download, ADE20K_150[0]) == []


def test_the_manifest_holds_counts_and_checksums(download, capsys):
    assert prepare(download, "--subset") == 0
    said = capsys.readouterr().out
    for spec in ADE20K_150:
        assert f"{spec.name}: 3 of 3 label maps are ready in {download / spec.label_dir}" in said
        lines = manifest_of(download, spec).read_text().splitlines()
        assert lines == [
            f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {spec.split}/{path.name}"
            for path in label_files(download, spec)
        ]
        assert hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest() in said


def test_whole_files_are_kept_and_damaged_ones_replaced(download):
    prepare(download, "--subset")
    first, second, third = label_files(download)
    before = states([first, second, third])
    second.write_bytes(before[second][0][:40])
    Image.fromarray(np.zeros((3, 3), dtype=np.uint8)).save(third)
    assert prepare(download, "--subset") == 0
    after = states([first, second, third])
    assert {path: content for path, (content, _) in after.items()} == {path: b for path, (b, _) in before.items()}
    assert after[first] == before[first]


def test_a_complete_split_needs_no_download_any_more(download, capsys):
    specs = [replace(spec, image_count=3) for spec in ADE20K_150]
    assert prepare(download, specs=specs) == 0
    before = states(label_files(download))
    for folder in ("images", "annotations"):
        shutil.rmtree(download / "ADEChallengeData2016" / folder)
    capsys.readouterr()
    assert prepare(download, specs=specs) == 0
    assert "all 3 label maps are there and match their checksums" in capsys.readouterr().out
    assert states(label_files(download)) == before
    label_files(download)[0].unlink()
    assert prepare(download, specs=specs) == 2


def test_verify(download, capsys):
    assert prepare(download, "--verify") == 1
    assert "it was not prepared" in capsys.readouterr().err
    prepare(download, "--subset")
    capsys.readouterr()
    assert prepare(download, "--verify") == 0
    assert "3 files match their checksums" in capsys.readouterr().out
    damaged, gone, _ = label_files(download)
    damaged.write_bytes(b"something else")
    gone.unlink()
    assert prepare(download, "--verify") == 1
    errors = capsys.readouterr().err
    assert f"2 of 3 files are missing or damaged: {damaged}, {gone}" in errors
    assert ADE20K_150[0].command in errors
    assert damaged.read_bytes() == b"something else"


def test_incomplete_downloads_are_refused(download, capsys):
    assert prepare(download) == 2
    errors = capsys.readouterr().err
    assert (
        f"training: 20207 of 20210 images are missing in {download / ADE20K_150[0].image_dir}: "
        "ADE_train_00000004, ADE_train_00000005" in errors
    )
    assert "ADE_train_00000013, ..." in errors
    assert "ADE_train_00000014" not in errors
    assert "validation: 1997 of 2000 label maps are missing" in errors
    assert "ADEChallengeData2016.zip" in errors
    assert "--subset" in errors
    assert label_files(download) == []


def test_all_that_is_missing_is_listed(download, capsys):
    (download / ADE20K_150[0].source_label_dir / "ADE_train_00000002.png").unlink()
    (download / ADE20K_150[1].image_dir / "ADE_val_00000001.jpg").unlink()
    assert prepare(download, "--subset") == 2
    errors = capsys.readouterr().err
    folder = download / ADE20K_150[0].source_label_dir
    assert f"training: 1 of 3 label maps are missing in {folder}: ADE_train_00000002" in errors
    folder = download / ADE20K_150[1].image_dir
    assert f"validation: 1 of 3 images are missing in {folder}: ADE_val_00000001" in errors
    assert label_files(download) == []


@pytest.mark.parametrize("arguments", [[], ["--subset"]])
def test_missing_download(tmp_path, capsys, arguments):
    assert prepare(tmp_path, *arguments) == 2
    errors = capsys.readouterr().err
    if arguments:
        assert "there are 0 images instead of 20210" in errors
    else:
        assert f"the folder {tmp_path / ADE20K_150[0].image_dir} is missing" in errors
    assert "wget" in errors


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
    assert "ade20k_150_train_sem_seg: 0 of 3 label maps are ready" in output.out
    assert "ade20k_150_test_sem_seg: 2 of 3 label maps are ready" in output.out
    for words in (
        "3 could not be made",
        "1 could not be made",
        "ADE_train_00000001.png cannot be decoded",
        "ADE_train_00000002: its labels have the size (64, 43)",
        "ADE_train_00000003.jpg is no image of a kind that can be read",
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
        patch.setattr(making, "tqdm", stop_after_first)
        assert prepare(download, "--subset") == status
    assert words in capsys.readouterr().err
    assert not [path for path in label_files(download) if "partial" in path.name]
    first, *_ = label_files(download)
    assert manifest_of(download).read_text().endswith(f"  training/{first.name}\n")
    before = states([first])
    assert prepare(download, "--subset") == 0
    assert states([first]) == before


def test_a_manifest_that_was_cut_off_is_read_as_far_as_it_goes(download):
    prepare(download, "--subset")
    whole = manifest_of(download).read_text()
    manifest_of(download).write_text(whole[:-70])
    before = states(label_files(download)[:2])
    assert prepare(download, "--subset") == 0
    assert manifest_of(download).read_text() == whole
    kept = states(label_files(download)[:1])
    assert kept.items() <= before.items()


def test_a_full_disk_stops_the_run(download, monkeypatch, capsys):
    replace_file = os.replace

    def full(source, target):
        if Path(target).name == "ADE_train_00000002.png":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace_file(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)  # the worker processes are forks of this one
        assert prepare(download, "--subset") == 1
    errors = capsys.readouterr().err
    assert "ADE_train_00000002.png cannot be written: No space left on device" in errors
    assert "run the same command again" in errors
    assert not list((download / ADE20K_150[0].label_dir).glob(".*"))
    assert prepare(download, "--subset") == 0


def test_label_maps_that_do_not_belong_there_are_named(download, capsys):
    specs = [replace(ADE20K_150[1], image_count=3)]
    foreign = download / specs[0].label_dir / "mine.png"
    foreign.parent.mkdir(parents=True)
    foreign.touch()
    assert prepare(download, specs=specs) == 1
    assert "1 other label maps" in capsys.readouterr().err
    foreign.unlink()
    assert prepare(download, specs=specs) == 0


def test_images_without_any_class_are_left_out(tmp_path, capsys):
    make_miniature_voc(tmp_path, 3)
    [spec] = PASCAL_VOC_20
    empty = tmp_path / spec.source_label_dir / "2007_000001.png"
    values = np.array(Image.open(empty))
    Image.fromarray(np.where(values % 2 == 0, 0, 255).astype(np.uint8)).save(empty)
    options = ["--root", str(tmp_path), "--subset", "--workers", "1"]
    assert main("Prepares.", [(spec, pascal_voc(background=False))], options) == 0
    assert "2 of 3 label maps are ready" in capsys.readouterr().out
    assert [path.stem for path in label_files(tmp_path, spec)] == ["2007_000000", "2007_000002"]


def test_bad_arguments(tmp_path, capsys):
    for arguments in (["--workers", "0"], ["--splits", "test"]):
        with pytest.raises(SystemExit) as error:
            prepare(tmp_path, *arguments)
        assert error.value.code == 2
        assert arguments[1] in capsys.readouterr().err
