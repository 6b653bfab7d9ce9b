"""Videos and cameras, read and written frame by frame."""

import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseg.errors import InputError, RunError

CAMERA = "camera:"  # camera:0 is the first one
FRAMES_PER_SECOND = 30.0  # where neither file nor camera tells

Frame = NDArray[np.uint8]

# Of OpenCV's codes, the encoder of ffmpeg that keeps the codec, the one that computes quickly on any machine.
_ENCODERS = {
    **dict.fromkeys(("avc1", "h264", "x264"), "libx264"),
    **dict.fromkeys(("hvc1", "hev1", "hevc", "h265"), "libx265"),
    **dict.fromkeys(("mp4v", "fmp4", "xvid", "divx"), "mpeg4"),
    **dict.fromkeys(("mjpg", "jpeg"), "mjpeg"),
    **dict.fromkeys(("vp80",), "libvpx"),
    **dict.fromkeys(("vp90", "vp09"), "libvpx-vp9"),
    **dict.fromkeys(("av01",), "libsvtav1"),
}
_WRITTEN_AS = {"h264": "avc1", "hevc": "hvc1", "fmp4": "mp4v"}  # codes that OpenCV reads, and writes by another name
# What OpenCV can write by itself into each container, where it cannot write the codec of the source.
_FALLBACK = {".avi": "MJPG", ".webm": "VP80"}
_ANY = "mp4v"

logger = logging.getLogger(__name__)


class Video:
    """A video whose frames are read one by one.

    Attributes:
        name: the file, or `camera:NUMBER`.
        path: the file; None for a camera.
        rate: frames per second.
        codec: its code of four letters, as OpenCV has it.
        length: number of frames as the file tells it, 0 if it does not.
    """

    def __init__(self, name: str) -> None:
        """Open a video.

        Args:
            name: a file or `camera:NUMBER`.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it cannot be read as a video.
        """
        cv2 = _opencv()
        self.name = name
        camera = camera_number(name)
        self.path = None if camera is not None else Path(name)
        if self.path is not None and not self.path.is_file():
            raise FileNotFoundError(f"no video file {name}")
        self._capture = cv2.VideoCapture(camera if camera is not None else name)
        if not self._capture.isOpened():
            what = "no camera answers" if camera is not None else "cannot be read as a video, it may be damaged"
            raise InputError(f"{name}: {what}")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = float(rate) if 0 < rate < 1000 else FRAMES_PER_SECOND
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        self.codec = code.to_bytes(4, "little").decode("latin-1")
        self.length = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))) if self.path else 0

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, RGB 0..255, (H, W, 3), upright.

        Raises:
            ValueError: if there is none.
        """
        cv2 = _opencv()
        read = 0
        try:
            while True:
                there, frame = self._capture.read()
                if not there:
                    break
                read += 1
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        finally:
            self._capture.release()
        if not read:
            raise InputError(f"{self.name}: no frame can be read, it may be damaged")
        if read < 0.98 * self.length - 1:
            logger.warning("%s: only %d of about %d frames can be read", self.name, read, self.length)


def camera_number(name: str) -> int | None:
    """Return the number of a camera, None if it is a file.

    Raises:
        ValueError: if the number is none.
    """
    if not name.startswith(CAMERA):
        return None
    number = name.removeprefix(CAMERA)
    if not number.isdecimal():
        raise InputError(f"{name}: a camera is given by its number, such as {CAMERA}0")
    return int(number)


@contextmanager
def video_writer(path: Path, like: Video, *, frames: int | None = None) -> Iterator[Callable[[Frame], None]]:
    """Write a video with the frame rate of another one, with its codec and its sound where that can be done.

    ffmpeg writes it, where it is on PATH; OpenCV does otherwise, which knows few codecs and no sound. What is not kept
    is said in a warning.

    Args:
        path: the file; its suffix decides about the container. It is complete at the end of the block, whatever is
            raised in there: the caller puts it in place, or not.
        like: the other one.
        frames: how many of its frames there will be at most, if not all: its sound is cut after them.

    Yields:
        A function that takes a frame, RGB 0..255, (H, W, 3), all of one size.

    Raises:
        RuntimeError: if the video cannot be written.
    """
    program = shutil.which("ffmpeg")
    writer = _OpenCVWriter(path, like) if program is None else _FFmpegWriter(path, like, program, frames)
    try:
        yield writer.write
    finally:
        writer.close()


class _OpenCVWriter:
    def __init__(self, path: Path, like: Video) -> None:
        self._path, self._like = path, like
        self._writer: Any = None
        if like.path is not None:
            logger.warning("%s: its sound, if it has any, is left out: install ffmpeg to keep it", like.name)

    def write(self, frame: Frame) -> None:
        cv2 = _opencv()
        if self._writer is None:
            self._writer = self._open((frame.shape[1], frame.shape[0]))
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()

    def _open(self, size: tuple[int, int]) -> Any:
        cv2 = _opencv()
        fallback = _FALLBACK.get(self._path.suffix.lower(), _ANY)
        own = _WRITTEN_AS.get(self._like.codec.lower(), self._like.codec)
        for codec in dict.fromkeys((own, fallback)):
            writer = cv2.VideoWriter(str(self._path), cv2.VideoWriter_fourcc(*codec), self._like.rate, size)
            if writer.isOpened():
                if codec != own and self._like.path is not None:
                    logger.warning(
                        "%s: the result has the codec %s, since OpenCV cannot write %s: install ffmpeg to keep it",
                        *(self._like.name, codec, self._like.codec),
                    )
                return writer
        raise RunError(f"OpenCV cannot write {self._path.suffix} videos here: install ffmpeg")


class _FFmpegWriter:
    def __init__(self, path: Path, like: Video, program: str, frames: int | None) -> None:
        self._path, self._like, self._program, self._frames = path, like, program, frames
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""

    def write(self, frame: Frame) -> None:
        if self._process is None:
            # Its own session, since Ctrl-C is for us: a video that is cut short is finished all the same.
            self._process = subprocess.Popen(
                self._command(frame.shape[1], frame.shape[0]),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        pipe = self._process.stdin
        try:
            if pipe is not None:
                pipe.write(np.ascontiguousarray(frame).data)
        except BrokenPipeError:
            _, self._said = self._process.communicate()
            raise self._error() from None

    def close(self) -> None:
        if self._process is not None and not self._process.returncode:
            _, self._said = self._process.communicate()  # which closes its input
            if self._process.returncode:
                raise self._error()

    def _command(self, width: int, height: int) -> list[str]:
        rate = Fraction(self._like.rate).limit_denominator(1001)
        frames = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate), "-i", "-"]
        sound, copied = [], []
        if self._like.path is not None:
            length = [] if self._frames is None else ["-t", str(self._frames / self._like.rate)]
            sound = [*length, "-i", str(self._like.path), "-map", "0:v", "-map", "1:a?"]
            copied = ["-c:a", "copy"]
        even = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"]
        encoder = self._encoder()
        video = [] if encoder is None else ["-c:v", encoder]
        return [self._program, "-y", "-loglevel", "error", *frames, *sound, *video, *even, *copied, str(self._path)]

    def _encoder(self) -> str | None:
        """Return the encoder of the source's codec; None, with a warning, leaves the choice to ffmpeg."""
        encoder = _ENCODERS.get(self._like.codec.lower())
        listed = subprocess.run([self._program, "-hide_banner", "-encoders"], capture_output=True, text=True)
        if encoder in listed.stdout.split():
            return encoder
        if self._like.path is not None:
            logger.warning("%s: ffmpeg cannot encode %r here and chooses a codec", self._like.name, self._like.codec)
        return None

    def _error(self) -> RunError:
        said = self._said.decode(errors="replace").strip().splitlines()
        return RunError(
            f"ffmpeg cannot write the result of {self._like.name}: {said[-1] if said else 'it ended early'}"
        )


def _opencv() -> Any:
    """Import OpenCV, whose readers would write their own messages to the terminal."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    cv2.utils.logging.setLogLevel(0)
    return cv2
