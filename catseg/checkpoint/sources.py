"""What weights can be named by: a local file, one on the Hugging Face hub, a published CAT-Seg, or a URL."""

import difflib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from detectron2.utils.file_io import PathManager

from catseg.checkpoint.files import require_file
from catseg.checkpoint.hub import SCHEME, HubFile, fetch_from_hub, parse_name
from catseg.errors import InputError

PUBLISHED_SCHEME = "catseg://"
_V1, _V2 = "hamacojr/CAT-Seg", "hamacojr/CAT-Seg-weights"


@dataclass(frozen=True)
class PublishedModel:
    """A checkpoint that the authors of CAT-Seg published.

    Attributes:
        source: where it is.
        config: the one that it belongs to, a file name in configs/.
    """

    source: HubFile
    config: str


# `main`, since no commit of these repositories was at hand: the first download resolves it and keeps the commit.
PUBLISHED = {
    **{
        f"v1-{size}": PublishedModel(HubFile(_V1, f"model_final_{size}.pth"), f"catseg_v1_{size}.yaml")
        for size in ("base", "large", "huge", "giant")
    },
    **{
        f"v2-{size}": PublishedModel(HubFile(_V2, f"model_{size}.pth", kind="space"), f"catseg_v2_{size}.yaml")
        for size in ("base", "large")
    },
}


def hub_file(weights: str) -> HubFile | None:
    """Tell which file on the hub weights are; None if they are a local file or a URL.

    Args:
        weights: what MODEL.WEIGHTS can be.

    Raises:
        ValueError: if no published model is called so, or the name of a file on the hub is of another form.
    """
    if weights.startswith(PUBLISHED_SCHEME):
        return _published(weights.removeprefix(PUBLISHED_SCHEME)).source
    return parse_name(weights) if weights.startswith(SCHEME) else None


def fetch(weights: str) -> Path:
    """Return the local file of weights, downloaded if need be.

    Args:
        weights: a path, `catseg://NAME` for one of `PUBLISHED`, `hf://OWNER/REPO/FILE`, or a URL.

    Raises:
        FileNotFoundError: if there is no such file or it cannot be downloaded.
        ValueError: if no file can have this name, or it was damaged on its way.
    """
    if "://" not in weights:
        return require_file(weights, "MODEL.WEIGHTS")
    source = hub_file(weights)
    if source is not None:
        return fetch_from_hub(source)
    try:
        return require_file(PathManager.get_local_path(weights), weights)
    except Exception as error:  # whatever the many kinds of URL handlers raise
        raise FileNotFoundError(f"cannot fetch {weights} ({error}); give MODEL.WEIGHTS a local file") from error


def belongs_to(weights: str) -> str:
    """Say which config published weights belong to, however they are named; "" for other weights."""
    source = hub_file(weights)
    file = PurePosixPath(source.file if source else weights).name
    config = next((model.config for model in PUBLISHED.values() if model.source.file == file), None)
    return f"{file}, as the authors publish it, belongs to configs/{config}" if config else ""


def _published(name: str) -> PublishedModel:
    try:
        return PUBLISHED[name]
    except KeyError:
        close = difflib.get_close_matches(name, PUBLISHED, n=1)
        hint = f"did you mean {PUBLISHED_SCHEME}{close[0]}?" if close else f"there are {', '.join(PUBLISHED)}"
        raise InputError(f"no published model is called {PUBLISHED_SCHEME}{name}; {hint}") from None
