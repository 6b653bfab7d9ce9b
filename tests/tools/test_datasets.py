import shutil
from dataclasses import replace

import pytest

from catseg.data.dataset_specs import BENCHMARKS, COCO_STUFF_171, PASCAL_VOC_20, PASCAL_VOC_20B
from catseg.data.preparation.command import main as prepare
from catseg.data.preparation.mapped import pascal_voc
from catseg.tools import datasets
from catseg.tools.datasets import main
from tests.miniature_benchmarks import make_miniature_voc

VOC = (*PASCAL_VOC_20, *PASCAL_VOC_20B)


@pytest.fixture
def small_voc(monkeypatch, tmp_path):
    """VOC, downloaded, with two images when complete."""
    specs = tuple(replace(spec, image_count=2) for spec in VOC)
    monkeypatch.setattr(datasets, "BENCHMARKS", specs)
    make_miniature_voc(tmp_path, 2)
    return specs


def status(root, capsys, *arguments, expected=0):
    assert main(["status", "--root", str(root), *arguments]) == expected
    return capsys.readouterr().out


def prepare_voc(root, specs):
    recipes = [(specs[0], pascal_voc(background=False)), (specs[1], pascal_voc(background=True))]
    assert prepare("Prepares.", recipes, ["--root", str(root), "--workers", "1"]) == 0


def state(shown, name):
    [line] = [line for line in shown.splitlines() if line.startswith(f"{name} ")]
    return line.removeprefix(name).strip()


def test_without_files_every_download_is_named(tmp_path, capsys):
    shown = status(tmp_path, capsys)
    for spec in BENCHMARKS:
        assert state(shown, spec.name).endswith("not downloaded")
        assert f"  {spec.command} --root {tmp_path}\n" in shown
        for download in spec.downloads:
            assert download.url in shown


def test_some_data_sets(tmp_path, capsys):
    shown = status(tmp_path, capsys, VOC[0].name)
    assert VOC[0].name in shown
    assert VOC[1].name not in shown


def test_a_split_needs_no_download_of_another(tmp_path, capsys):
    shown = status(tmp_path, capsys, COCO_STUFF_171[1].name)
    assert "train2017.zip" not in shown
    assert "prepare_coco_stuff.py --splits val2017" in shown


def test_from_download_to_ready(small_voc, tmp_path, capsys):
    first, second = (spec.name for spec in small_voc)
    images = tmp_path / small_voc[0].image_dir
    images.rename(images.with_name("elsewhere"))
    assert f"missing: {small_voc[0].image_dir}" in status(tmp_path, capsys)
    images.with_name("elsewhere").rename(images)

    shown = status(tmp_path, capsys)
    assert state(shown, first) == "2           0  downloaded, not prepared"
    assert f"{first}, {second}:\n  python datasets/prepare_pascal_voc.py --root {tmp_path}\n" in shown
    assert "wget" not in shown

    prepare_voc(tmp_path, small_voc)
    capsys.readouterr()
    shown = status(tmp_path, capsys, "--verify")
    assert state(shown, first) == state(shown, second) == "2           2  ready"
    assert "What comes next" not in shown


def test_what_is_wrong_is_told(small_voc, tmp_path, capsys):
    prepare_voc(tmp_path, small_voc)
    labels = sorted((tmp_path / small_voc[0].label_dir).iterdir())
    labels[0].write_bytes(labels[1].read_bytes())
    capsys.readouterr()
    assert "ready" in state(status(tmp_path, capsys), small_voc[0].name)
    shown = status(tmp_path, capsys, "--verify", expected=1)
    assert f"1 files are missing or differ from their checksums, {labels[0]}; to make them again: python" in shown

    (tmp_path / small_voc[0].image_dir / f"{labels[0].stem}.jpg").unlink()
    assert "incomplete: there is no image for 1 label maps" in state(status(tmp_path, capsys), small_voc[0].name)
    labels[0].unlink()
    assert state(status(tmp_path, capsys), small_voc[0].name).endswith("a part: 1 of 2 images")

    shutil.copy(labels[1], labels[0])
    (tmp_path / small_voc[0].image_dir / f"{labels[0].stem}.jpg").touch()
    (tmp_path / f"{small_voc[0].label_dir}.sha256").unlink()
    assert "ready, without checksums" in status(tmp_path, capsys)


def test_list(capsys):
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert state(shown, "voc_2012_test_background_sem_seg").split()[:3] == ["21", "pascal_voc_20b", "1449"]
    assert state(shown, "ade20k_full_sem_seg_freq_val_all").split()[::4] == ["847", "65535"]


@pytest.mark.parametrize("arguments", [[], ["status", "voc"], ["status", "--workers", "0"]])
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    errors = capsys.readouterr().err
    assert all(word in errors for word in arguments)
