import argparse

import pytest

from catseg.arguments import positive
from catseg.cli.settings import DEVICE, MODEL, Setting, add_settings, resolve

SETTINGS = (
    MODEL,
    DEVICE,
    Setting("format", "", "png", choices=("png", "jpg")),
    Setting("batch", "", 1, positive),
    Setting("save", "", ("overlay",), lambda text: tuple(text.split(","))),
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    for name in ("MODEL", "DEVICE", "FORMAT", "BATCH", "SAVE", "CONFIG"):
        monkeypatch.delenv(f"CATSEG_{name}", raising=False)
    (tmp_path / "home" / "catseg").mkdir(parents=True)
    return tmp_path


def resolved(*words):
    parser = argparse.ArgumentParser()
    add_settings(parser, SETTINGS)
    args = parser.parse_args(words)
    return args, resolve("segment", args, SETTINGS)


def test_flag_over_variable_over_files_over_default(folder, monkeypatch):
    def device():
        args, lines = resolved()
        return args.device, lines[1]

    assert device() == (None, "device: not set (default)")
    (folder / "home/catseg/config.yaml").write_text("device: home")
    assert device() == ("home", f"device: home ({folder}/home/catseg/config.yaml)")
    (folder / "catseg.yaml").write_text("device: here")
    assert device() == ("here", "device: here (catseg.yaml)")
    monkeypatch.setenv("CATSEG_DEVICE", "variable")
    assert device() == ("variable", "device: variable (CATSEG_DEVICE)")
    assert resolved("--device", "flag")[1][1] == "device: flag (--device)"


def test_values_are_read_alike_wherever_they_come_from(folder, monkeypatch):
    (folder / "catseg.yaml").write_text("segment:\n  batch: 3\n  save: [labels, coco]\ntrain:\n  anything: 1\n")
    args, _ = resolved()
    assert (args.batch, args.save) == (3, ("labels", "coco"))
    monkeypatch.setenv("CATSEG_BATCH", "4")
    assert resolved()[0].batch == 4


def test_a_named_file_is_read_instead(folder, monkeypatch):
    (folder / "catseg.yaml").write_text("model: here")
    (folder / "other.yaml").write_text("device: cpu")
    monkeypatch.setenv("CATSEG_CONFIG", "other.yaml")
    args, _ = resolved()
    assert (args.model, args.device) == (None, "cpu")
    monkeypatch.setenv("CATSEG_CONFIG", "gone.yaml")
    with pytest.raises(FileNotFoundError, match=r"CATSEG_CONFIG names gone\.yaml"):
        resolved()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("divice: cpu", r"catseg\.yaml has no setting 'divice'; did you mean device\?"),
        ("format: jpg", r"no setting 'format'; write it below a command: segment: \{\.\.\.\}"),
        ("segment: {formt: jpg}", r"segment in catseg\.yaml has no setting 'formt'; did you mean format\?"),
        ("segment: {format: gif}", r"format in catseg\.yaml is 'gif', expected one of png, jpg"),
        ("segment: {batch: 0}", r"batch in catseg\.yaml: expected a whole number of at least 1, got '0'"),
        ("segment: [1]", "must hold"),
        ("- a", "must hold"),
        ("a: [", "is no YAML"),
    ],
)
def test_files_that_cannot_be_used(folder, content, message):
    (folder / "catseg.yaml").write_text(content)
    with pytest.raises(ValueError, match=message):
        resolved()


def test_variables_that_cannot_be_used(monkeypatch):
    monkeypatch.setenv("CATSEG_BATCH", "many")
    with pytest.raises(ValueError, match="CATSEG_BATCH: expected a whole number"):
        resolved()
