"""Opening image files of all kinds: what every reader of images and label maps has in common."""

import importlib
import io
import logging
import struct
import warnings
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import BinaryIO, TypeVar

from PIL import BmpImagePlugin, ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from catseg.errors import InputError

T = TypeVar("T")

logger = logging.getLogger(__name__)

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Formats that Pillow registers but reads only with other programs, on other systems, or not at all.
_UNREADABLE_FORMATS = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}


class UnsuitableImageError(ValueError):
    """An image that was decoded, but holds what cannot be used; the message says what and what to do."""


def read_file(
    source: str | Path | bytes,
    read: Callable[[Image.Image], T],
    *,
    otherwise: Callable[[bytes], T | None] = lambda _: None,
) -> T:
    """Open an image file.

    Text, profiles and other data beside the pixels that Pillow refuses are skipped.

    Args:
        source: a file in any format that Pillow reads, or its content. HEIC needs pillow-heif; AVIF, before Pillow
            11.3, pillow-avif-plugin.
        read: is called with the image, which is not decoded yet; a second time if it could not be decoded at first.
        otherwise: is called with the content of a file that Pillow cannot open; None if that does not help either.

    Returns:
        What `read` or `otherwise` returns.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no image, is damaged, is so large that decoding it looks like an attack
            (`PIL.Image.MAX_IMAGE_PIXELS`, times two), or if `read` raises `UnsuitableImageError`. The message begins
            with the path.
        OSError: if the file cannot be opened.
    """
    if isinstance(source, bytes):
        return _read_named(io.BytesIO(source), "the image given as bytes", "", read, otherwise)
    path = Path(source)
    if path.is_symlink() and not path.exists():
        raise FileNotFoundError(f"no image file {path}: it is a link to {path.readlink()}, which does not exist")
    if not path.exists():
        raise FileNotFoundError(f"no image file {path}")
    if not path.is_file():
        raise InputError(f"expected an image file, got the folder or special file {path}")
    with path.open("rb") as file:  # apart from decoding, so that "permission denied" is not called a damaged image
        return _read_named(file, str(path), path.suffix, read, otherwise)


def _read_named(
    file: BinaryIO, name: str, suffix: str, read: Callable[[Image.Image], T], otherwise: Callable[[bytes], T | None]
) -> T:
    """Read an image, with errors that begin with its name."""
    _load_plugins()
    try:
        return _read_stream(file, read, otherwise)
    except UnidentifiedImageError as error:
        file.seek(0)
        reason = _why_unidentified(suffix, file.read(_BEGINNING))
        raise InputError(f"{name} is no image of a kind that can be read{reason}") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} is too large to be decoded safely: {error}") from error
    except UnsuitableImageError as error:
        raise InputError(f"{name}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises all kinds of errors for damaged files
        raise InputError(f"{name} cannot be decoded, it may be damaged: {error}") from error


def image_suffixes() -> frozenset[str]:
    """Return the suffixes, in lower case and with the dot, of the files that `read_file` reads."""
    _load_plugins()
    readable = (set(Image.OPEN) | {"MPO"}) - _UNREADABLE_FORMATS  # MPO is opened as JPEG
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in readable)


def _read_stream(file: BinaryIO, read: Callable[[Image.Image], T], otherwise: Callable[[bytes], T | None]) -> T:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # large or slightly damaged, but readable
        try:
            with Image.open(file) as image:
                if _is_misread(image):
                    raise UnidentifiedImageError
                return read(image)
        except (Image.DecompressionBombError, UnsuitableImageError, MemoryError):
            raise
        except Exception as error:  # of any kind, for damaged pixels and for odd texts and profiles alike
            file.seek(0)
            content = file.read()
            if content.startswith(_PNG_SIGNATURE):
                with Image.open(io.BytesIO(_without_extras(content))) as image:
                    return read(image)
            result = otherwise(content) if isinstance(error, UnidentifiedImageError) else None
            if result is None:
                raise
            return result


def _is_misread(image: Image.Image) -> bool:
    """Tell whether Pillow opens a file but would take its pixels for others.

    It does so for BMP files whose few colours are grey, and for TIFF files that hold one 16-bit channel after another.
    """
    if isinstance(image, BmpImagePlugin.BmpImageFile) and image.mode in ("1", "L") and image.fp is not None:
        image.fp.seek(14)
        header = image.fp.read(16)
        bits = struct.unpack_from("<H", header, 10 if header[0] == 12 else 14)[0]
        return bits != (1 if image.mode == "1" else 8)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        planar = tags.get(ExifTags.Base.PlanarConfiguration) == 2 and len(image.getbands()) > 1
        return planar and max(tags.get(ExifTags.Base.BitsPerSample, (1,))) > 8
    return False


def _without_extras(content: bytes) -> bytes:
    """Return a PNG file with only the chunks that decide about its pixels, which are its critical ones, tRNS and eXIf.

    An extra chunk is dropped if its checksum is wrong.
    """
    kept, position = [_PNG_SIGNATURE], len(_PNG_SIGNATURE)
    while position + 12 <= len(content):
        length, kind = struct.unpack(">I4s", content[position : position + 8])
        end = position + 12 + length
        chunk = content[position:end]
        intact = end <= len(content) and zlib.crc32(chunk[4:-4]) == struct.unpack(">I", chunk[-4:])[0]
        if not kind[0] & 0x20 or (kind in (b"tRNS", b"eXIf") and intact):
            kept.append(chunk)
        position = end
    return b"".join(kept)


@cache
def _load_plugins() -> None:
    """Let Pillow read HEIC and AVIF files where the packages for it are installed."""
    Image.init()
    for name, suffix in _PLUGINS.items():
        if suffix in Image.EXTENSION:
            continue
        try:
            plugin = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        except (ImportError, OSError) as error:  # installed, but a library that it needs is not
            logger.warning("%s files are not read, %s cannot be imported: %s", suffix, name, error)
            continue
        if hasattr(plugin, "register_heif_opener"):  # the other registers itself
            plugin.register_heif_opener()


def _why_unidentified(suffix: str, beginning: bytes) -> str:
    """Say in brackets what a file is instead, by its first bytes or else its suffix; "" if that is not known."""
    if not beginning:
        return " (it is empty)"
    text = beginning.lstrip().lower()
    found = next((reason for start, reason in _POINTERS.items() if text.startswith(start)), "")
    suffix = next((s for s, starts in _BEGINNINGS.items() if beginning[4:].startswith(starts)), suffix)
    reason = found or _why_suffix_unreadable(suffix)
    return f" ({reason})" if reason else ""


def why_unreadable(path: Path) -> str:
    """Tell by the suffix why a file is not read and what to do; "" for a suffix that is read or unknown."""
    return _why_suffix_unreadable(path.suffix)


def _why_suffix_unreadable(suffix: str) -> str:
    if suffix.lower() in image_suffixes():
        return ""
    return next((reason for reason, suffixes in _REASONS.items() if suffix.lower() in suffixes), "")


VIDEO_SUFFIXES = frozenset(
    (".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv")
)

_PLUGINS = {"pillow_heif": ".heic", "pillow_avif": ".avif"}  # each with a suffix that it is for
_BEGINNING = 64  # bytes of a file that tell what it is
_POINTERS = {  # in lower case
    b"version https://git-lfs": "a Git LFS pointer, not the image: git lfs pull",
    b"/annex/objects/": "a git-annex pointer, not the image: git annex get",
    b"<!doctype html": "a web page: the link leads to a page, not to the image",
    b"<html": "a web page: the link leads to a page, not to the image",
}
_BEGINNINGS = {  # from the fifth byte
    ".avif": (b"ftypavif", b"ftypavis"),
    ".heic": (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1"),
    ".jxl": (b"JXL ",),
}
_REASONS = {
    "AVIF needs Pillow 11.3 or later, or pip install pillow-avif-plugin": {".avif", ".avifs"},
    "HEIC needs pip install pillow-heif": {".heic", ".heif", ".heics", ".heifs", ".hif"},
    "a raw camera file: export it as JPEG or TIFF": {
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".mrw", ".nef", ".nrw", ".orf", ".pef"),
        *(".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
    },
    "a video: extract its frames as images": VIDEO_SUFFIXES,
    "no pixels but drawing commands: export it as PNG": {".ai", ".emf", ".eps", ".pdf", ".ps", ".svg", ".wmf"},
    "JPEG XL is not read: convert it to PNG": {".jxl"},
    "OpenEXR is not read: convert it to TIFF or PNG": {".exr"},
}
