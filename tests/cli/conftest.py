import cv2
import numpy as np
import pytest
from PIL import Image

from catseg.cli.main import main
from tests.tiny import tiny_config


@pytest.fixture
def catseg(capsys, caplog):
    """Runs `catseg` in this process; returns status, standard output, and standard error with the log."""

    def run(*words):
        try:
            status = main([str(word) for word in words])
        except SystemExit as left:
            status = left.code
        out, err = capsys.readouterr()
        log = caplog.text
        caplog.clear()
        return status, out, err + log

    return run


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The current folder, which holds what the examples of `--help` name. CATSEG_MODEL is a tiny model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(
        tiny_config(tmp_path, DATASETS__TEST=(), INPUT__CROP__ENABLED=True, INPUT__CROP__TYPE="absolute").dump()
    )
    monkeypatch.setenv("CATSEG_MODEL", "tiny.yaml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    generator = np.random.default_rng(0)
    for name in ("photos/a.jpg", "photos/trip/b.png", "a.jpg", "trip/c.png", "photo.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "classes.txt").write_text("road\ncar\n")
    write_video(tmp_path / "clip.mp4")
    return tmp_path


def write_video(path, frames=5, rate=12.5, size=(64, 48), codec="mp4v"):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, size)
    assert writer.isOpened()
    for number in range(frames):
        writer.write(np.full((size[1], size[0], 3), 40 * number, dtype=np.uint8))
    writer.release()


def video_facts(path):
    video = cv2.VideoCapture(str(path))
    facts = round(video.get(cv2.CAP_PROP_FPS), 2), int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    return facts, (int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT)))
