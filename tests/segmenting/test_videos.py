"""Videos written by ffmpeg: rate, codec and sound are those of the source."""

import re
import subprocess

import pytest

from catseg.segmenting.videos import Video, video_writer

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="its wheel holds an ffmpeg")


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """A function that runs ffmpeg, which is on PATH under its usual name; returns what it says."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "ffmpeg"
    program.symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return lambda *words: (
        subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False).stderr
    )


def make(ffmpeg, path, *, size="64x48", sound=True, codec="libx264"):
    picture = ["-f", "lavfi", "-i", f"testsrc=duration=2:size={size}:rate=25/2"]
    tone = ["-f", "lavfi", "-i", "sine=duration=2", "-c:a", "aac"] if sound else []
    ffmpeg(*picture, *tone, "-c:v", codec, "-pix_fmt", "yuv420p", path)
    return Video(str(path))


def facts(ffmpeg, path):
    """Seconds, codec and size of the picture, frames per second, codec of the sound or None."""
    said = ffmpeg("-i", path)
    hours, minutes, seconds = map(float, re.search(r"Duration: (\d+):(\d+):([\d.]+)", said).groups())
    codec, size, rate = re.search(r"Video: (\w+).*? ([1-9]\d*x\d+).*? ([\d.]+) fps", said).groups()
    sound = re.search(r"Audio: (\w+)", said)
    return 3600 * hours + 60 * minutes + seconds, codec, size, float(rate), sound and sound[1]


def test_codec_rate_and_sound_are_kept(ffmpeg, tmp_path):
    source = make(ffmpeg, tmp_path / "in.mp4")
    with video_writer(tmp_path / "out.mp4", source) as write:
        for frame in source:
            write(frame)
    seconds, *rest = facts(ffmpeg, tmp_path / "out.mp4")
    assert rest == ["h264", "64x48", 12.5, "aac"]
    assert seconds == pytest.approx(2, abs=0.1)


def test_the_sound_ends_with_the_frames(ffmpeg, tmp_path):
    source = make(ffmpeg, tmp_path / "in.mp4")
    frames = iter(source)
    with video_writer(tmp_path / "out.mp4", source, frames=5) as write:
        for _ in range(5):
            write(next(frames))
    seconds, *rest = facts(ffmpeg, tmp_path / "out.mp4")
    assert rest[-1] == "aac"
    assert seconds == pytest.approx(0.4, abs=0.1)


def test_odd_sizes_and_videos_without_sound(ffmpeg, tmp_path):
    source = make(ffmpeg, tmp_path / "in.mkv", size="64x48", sound=False, codec="mpeg4")
    with video_writer(tmp_path / "out.mkv", source) as write:
        for frame in source:
            write(frame[:47, :63])
    assert facts(ffmpeg, tmp_path / "out.mkv")[1:] == ("mpeg4", "64x48", 12.5, None)
