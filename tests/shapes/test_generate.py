import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from catseg.data.registration import register_datasets
from catseg.shapes.classes import CLASSES, HELD_OUT, SEEN
from catseg.shapes.generate import generate_shapes, main

COUNTS = {"train": 5, "seen_test": 2, "unseen_test": 3}
WORDS = [word for name, count in COUNTS.items() for word in (f"--{name.replace('_', '-')}", str(count))]


def generate(root, **settings):
    return generate_shapes(root, **{"counts": COUNTS, "size": 16, **settings})


def snapshot(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path):
    return generate(tmp_path)


def test_all_is_there_and_registered(folder, tmp_path):
    register_datasets(tmp_path)
    for split, count in COUNTS.items():
        assert len(DatasetCatalog.get(f"shapes_{split}_sem_seg")) == count
    assert MetadataCatalog.get("shapes_train_sem_seg").stuff_classes == list(SEEN)
    metadata = MetadataCatalog.get("shapes_unseen_test_sem_seg")
    assert metadata.stuff_classes == list(CLASSES)
    assert [CLASSES[index] for index in metadata.score_groups["held-out"]] == list(HELD_OUT)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["settings"]["counts"] == COUNTS
    assert manifest["classes"] == list(CLASSES)


def test_second_run_writes_nothing(folder, tmp_path):
    before = snapshot(folder)
    generate(tmp_path)
    assert snapshot(folder) == before


def test_interrupted_run_goes_on(folder, tmp_path, monkeypatch):
    whole = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")}
    other = tmp_path / "other"

    def interrupt(split, index):
        if split.name == "seen_test":
            raise KeyboardInterrupt
        return write_chunk(split, index)

    with monkeypatch.context() as patch:
        from catseg.shapes.splits import Split

        write_chunk = Split.write_chunk
        patch.setattr(Split, "write_chunk", interrupt)
        with pytest.raises(KeyboardInterrupt):
            generate(other)
    first = snapshot(other)
    generate(other)
    after = snapshot(other)
    drawn_before = [path for path in first if path.suffix == ".png"]
    assert drawn_before
    assert all(after[path] == first[path] for path in drawn_before)
    assert {
        path.relative_to(other / "shapes"): data for path, (_, data) in after.items() if path.suffix == ".png"
    } == whole


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_damaged_files_are_drawn_again(folder, tmp_path, damage, caplog):
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    damage(folder / "annotations" / "train" / "00003.png")
    generate(tmp_path)
    assert {path: path.read_bytes() for path in folder.rglob("*.png")} == before
    assert "differ from their checksum" in caplog.text


@pytest.mark.parametrize("settings", [{"seed": 1}, {"size": 24}, {"counts": {**COUNTS, "train": 6}}])
def test_other_settings_are_refused(folder, tmp_path, settings):
    before = snapshot(folder)
    with pytest.raises(FileExistsError, match=r"was made with version 1, seed 0, size 16.*delete it, or choose"):
        generate(tmp_path, **settings)
    assert snapshot(folder) == before


def test_folder_of_someone_else_is_left_alone(tmp_path):
    (tmp_path / "shapes").mkdir()
    (tmp_path / "shapes" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not of this command"):
        generate(tmp_path)
    assert [path.name for path in (tmp_path / "shapes").iterdir()] == ["thesis.txt"]


def test_damaged_manifest_is_named(folder, tmp_path):
    (folder / "manifest.json").write_text("{")
    with pytest.raises(FileExistsError, match=r"manifest.json is damaged"):
        generate(tmp_path)


@pytest.mark.parametrize("settings", [{"size": 8}, {"counts": {"train": 5}}, {"counts": {**COUNTS, "train": 0}}])
def test_impossible_settings_are_refused(tmp_path, settings):
    with pytest.raises(ValueError, match="at least one image for each"):
        generate(tmp_path, **settings)


def test_command_line(tmp_path, monkeypatch, capsys):
    main(["--root", str(tmp_path), "--size", "16", *WORDS])
    assert (tmp_path / "shapes" / "images" / "unseen_test" / "00002.png").is_file()
    with pytest.raises(SystemExit, match="seed 3"):
        main(["--root", str(tmp_path), "--size", "16", "--seed", "3", *WORDS])
    monkeypatch.setattr(
        "catseg.shapes.generate.generate_shapes", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(SystemExit, match="130"):
        main([])
    assert "run the same command again" in capsys.readouterr().err
