"""`catseg segment` with a tiny network of random weights, which gives every pixel something at threshold 0."""

import io
import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from open_clip.model import CLIP
from PIL import Image

from catseg.cli.commands import segment
from catseg.segmenting import videos
from tests.cli.conftest import video_facts, write_video
from tests.tiny import CLIP_CONFIG


def written(folder):
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def examples():
    lines = segment.EPILOG.split("examples:\n")[1].split("\n\n")[0].splitlines()
    return [line.strip() for line in lines]


@pytest.mark.parametrize("line", examples())
def test_examples_of_the_help(line, tiny, catseg, monkeypatch):
    """With the tiny model in place of all others. No camera answers here."""
    piped = line.startswith("cat ")
    words = shlex.split(line.rpartition("| ")[2] if piped else line.partition(" > ")[0])
    if piped:
        content = Path(shlex.split(line)[1]).read_bytes()
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: False, buffer=io.BytesIO(content)))
    words = [word.replace("shapes", "tiny.yaml") for word in words]
    status, out, err = catseg(*words[1:])
    assert status == ("camera:0" in words), err
    if "--json" in words:
        assert [json.loads(row)["name"] for row in out.splitlines()] == ["a.jpg", "trip/b.png"]
    else:
        assert out == ""
        assert "summary.json" in written("out")


def test_writes_exactly_there(tiny, catseg):
    status, _, err = catseg("segment", "photos", "sofa, cat", "-o", "out")
    assert status == 0, err
    kinds = ("labels.png", "overlay.png", "shares.json")
    expected = [f"{name}_{kind}" for name in ("a", "trip/b") for kind in kinds]
    assert written("out") == sorted([*expected, "index.html", "summary.json"])


def test_only_what_is_asked_for(tiny, catseg):
    words = ["segment", "photos", "-o", "out", "--save", "labels,scores,coco,labelme", "sofa, cat", "--threshold", "0"]
    assert catseg(*words)[0] == 0
    visible = [name for name in written("out") if not name.startswith(".")]
    kinds = ("coco.json", "labelme.json", "labels.png", "scores.npz")
    assert visible == sorted([*(f"{name}_{kind}" for name in ("a", "trip/b") for kind in kinds), "summary.json"])
    labelme = json.loads(Path("out/trip/b_labelme.json").read_text())
    assert (Path("out/trip") / labelme["imagePath"]).resolve() == (tiny / "photos/trip/b.png").resolve()
    before = Path("out/a_coco.json").stat().st_mtime_ns
    assert catseg(*words, "--skip-existing")[0] == 0
    assert Path("out/a_coco.json").stat().st_mtime_ns == before


def test_a_bad_file_loses_none_of_the_rest(tiny, catseg):
    Path("photos/bad.png").write_text("no image")
    status, out, err = catseg("segment", "photos", "sofa, cat", "-o", "out", "--json", "--format", "jpg")
    assert status == 1
    records = [json.loads(line) for line in out.splitlines()]
    assert [record.get("name") for record in records] == ["a.jpg", None, "trip/b.png"]
    assert records[1] == {"input": str(tiny / "photos/bad.png"), "error": "is no image of a kind that can be read"}
    assert "bad.png: is no image" in err
    assert Path("out/trip/b_overlay.jpg").is_file()


def test_threshold_and_background(tiny, catseg):
    assert catseg("segment", "a.jpg", "sofa, cat", "-o", "out", "--threshold", "1", "--background", "other")[0] == 0
    summary = json.loads(Path("out/summary.json").read_text())
    assert summary["classes"] == ["sofa", "cat", "other"]
    assert summary["pictures"][0]["classes"] == {"other": 1.0}
    assert "other" in Path("out/index.html").read_text()


def test_settings_are_shown(tiny, catseg, monkeypatch):
    Path("catseg.yaml").write_text("segment: {format: jpg}")
    _, _, err = catseg("segment", "a.jpg", "sofa, cat", "-o", "out", "--verbose", "--batch", "2")
    for line in ("model: tiny.yaml (CATSEG_MODEL)", "format: jpg (catseg.yaml)", "batch: 2 (--batch)"):
        assert line in err
    assert Path("out/a_overlay.jpg").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing", "cat, dog", "-o", "out"], "no file or folder missing"),
        (["empty", "cat, dog", "-o", "out"], "no images in empty"),
        (["photos", "a.jpg", "-o", "out"], "the last word names the classes"),
        (["photos", "trip", "-o", "out"], "the last word names the classes"),
        (["photos", "cat, dog"], "nothing would be kept"),
        (["photos", "cat, dog", "-o", "photos"], "is where the images come from"),
        (["photos", "cat, cat", "-o", "out"], "repeats the class 'cat'"),
        (["photos", "cat, dog", "-o", "out", "-m", "v2-bass"], "did you mean v2-base"),
        (["photos", "cat, dog", "-o", "out", "--save", "overlays"], "expected some of overlay,labels"),
        (["photos", "cat, dog", "-o", "out", "--threshold", "1.5"], "expected a number from 0 to 1"),
        (["photos", "cat, dog", "-o", "out", "--background", "dog"], "repeats the class"),
        (["camera:front", "cat, dog", "-o", "out"], "a camera is given by its number"),
        (["photos"], "required: CLASSES"),
        (
            ["s3://bucket/photos", "cat, dog", "-o", "out"],
            "s3://bucket/photos is no file or folder of images: --engine",
        ),
        (["photos", "cat, dog", "-o", "s3://bucket/out"], "s3://bucket/out is no file or folder"),
        (["list.parquet", "cat, dog", "-o", "out"], "list.parquet is no file or folder of images: --engine"),
        (["photos", "cat, dog", "--engine", "local", "--json"], "say where by -o"),
        (["photos", "camera:0", "cat, dog", "-o", "out", "--engine", "local"], "takes images alone, not camera:0"),
        (["photos", "cat, dog", "-o", "out", "--engine", "local", "--frames", "2"], "takes images alone, not --frames"),
    ],
)
def test_wrong_use(tiny, catseg, words, message):
    Path("empty").mkdir()
    status, out, err = catseg("segment", *words)
    assert (status, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert not Path("out").exists()


def test_interrupted_and_again(tiny):
    for index in range(300):
        Path(f"photos/{index:03d}.jpg").write_bytes(Path("a.jpg").read_bytes())
    command = [sys.executable, "-m", "catseg", "segment", "photos", "sofa, cat", "-o", "out"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not list(Path("out").glob("*_shares.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=60)
    assert process.returncode == 130, message
    assert "--skip-existing goes on" in message
    assert "Traceback" not in message
    assert not list(Path("out").rglob("*.partial*"))


def test_a_video(tiny, catseg, monkeypatch):
    monkeypatch.setattr(videos.shutil, "which", lambda _: None)
    status, out, err = catseg(
        "segment", "clip.mp4", "sofa, cat", "-o", "out", "--json", "--save", "overlay,labels,shares"
    )
    assert status == 0, err
    assert [json.loads(line)["frame"] for line in out.splitlines()] == [1, 2, 3, 4, 5]
    assert video_facts("out/clip_overlay.mp4") == ((12.5, 5), (64, 48))
    assert "sound" in err
    assert np.asarray(Image.open("out/clip/000005_labels.png")).shape == (48, 64)
    record = json.loads(Path("out/clip_shares.json").read_text())
    assert (record["frames"], record["rate"]) == (5, 12.5)
    catseg("segment", "clip.mp4", "sofa, cat", "-o", "short", "--frames", "2")
    assert video_facts("short/clip_overlay.mp4")[0] == (12.5, 2)


def test_videos_beside_images_and_damaged_ones(tiny, catseg):
    write_video(tiny / "photos/old.avi", rate=10, codec="MJPG")
    Path("photos/broken.mp4").write_bytes(Path("clip.mp4").read_bytes()[:500])
    status, _, err = catseg("segment", "photos", "sofa, cat", "-o", "out")
    assert status == 1
    assert "broken.mp4: cannot be read as a video" in err
    assert video_facts("out/old_overlay.avi")[0] == (10, 5)
    assert {"a_overlay.png", "trip/b_overlay.png"} <= set(written("out"))
    assert not [name for name in written("out") if "broken" in name or "partial" in name]


def test_clip_alone_is_a_model_like_any_other(tiny, catseg):
    torch.save(CLIP(**CLIP_CONFIG).state_dict(), "clip.pt")
    model = "training-free:tiny_clip.json/clip.pt"
    words = ["photos", "sofa, cat | kitten", "-o", "out", "--threshold", "0", "--background", "other", "--model", model]
    status, _, err = catseg("segment", *words)
    assert status == 0, err
    assert "results are random" not in err
    assert {"a_overlay.png", "trip/b_labels.png"} <= set(written("out"))
    status, _, err = catseg("train", "--data", "photos", "--model", model, "-o", "run")
    assert status != 0
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("engine", "package", "message"),
    [
        ("local", "pyarrow", 'segmenting a data set needs pyarrow: pip install "catseg[batch]"'),
        ("ray", "ray", '--engine ray needs ray: pip install "catseg[ray]"'),
    ],
)
def test_what_an_engine_needs_is_said_in_one_line(tiny, catseg, monkeypatch, engine, package, message):
    if package == "ray":
        pytest.importorskip("pyarrow", reason='pyarrow is not installed: pip install "catseg[batch]"')
    monkeypatch.setitem(sys.modules, package, None)
    status, out, err = catseg("segment", "photos", "sofa, cat", "-o", "out", "--engine", engine)
    assert (status, out, err) == (f"catseg segment: {message}", "", "")
    assert not Path("out").exists()


@pytest.mark.slow
def test_an_engine_leaves_a_manifest(tiny, catseg):
    pq = pytest.importorskip("pyarrow.parquet", reason='pyarrow is not installed: pip install "catseg[batch]"')
    Path("photos/bad.png").write_text("no image")
    words = ["segment", "photos", "sofa, cat", "-o", "out", "--engine", "local", "--workers", "1", "--json"]
    status, out, err = catseg(*words)
    assert status == 1
    assert "bad.png: is no image" in err
    rows = [json.loads(line) for line in out.splitlines()]
    assert sorted(Path(row["input"]).name for row in rows) == ["a.jpg", "b.png", "bad.png"]
    visible = [name for name in written("out") if not name.startswith(".")]
    kinds = ("labels.png", "overlay.png", "shares.json")
    assert visible == sorted([*(f"{name}_{kind}" for name in ("a", "trip/b") for kind in kinds), "manifest.parquet"])
    assert pq.read_table("out/manifest.parquet").num_rows == 3
    Path("photos/bad.png").unlink()
    status, out, _ = catseg(*words)
    assert (status, out) == (0, "")
