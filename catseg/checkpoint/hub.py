"""Files on the Hugging Face hub: named, downloaded, checked, and kept as safetensors.

A file is named `hf://OWNER/REPO/FILE`, as huggingface_hub writes it; `spaces/` or `datasets/` before OWNER stands for
repositories that are not models', `@REVISION` after REPO is a branch, tag or commit. What is read in the end is a copy
in this project's cache that holds the tensors alone, and the commit that they are from: once it is there, the hub is
not asked again, so that a branch that moves on does not change results.
"""

import hashlib
import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from catseg.atomic import atomic_path, cache_folder
from catseg.checkpoint.files import read_checkpoint
from catseg.errors import InputError

logger = logging.getLogger(__name__)

SCHEME = "hf://"
_KINDS = {"models": "model", "spaces": "space", "datasets": "dataset"}
_KIND = f"(?:{'|'.join(_KINDS)})/"
_NAME = re.compile(
    rf"{SCHEME}(?P<kind>{_KIND})?(?!{_KIND})(?P<repo>[\w.-]+/[\w.-]+)"
    r"(?:@(?P<revision>refs/(?:pr|convert)/[\w.-]+|[^/]+))?/(?P<file>.+)"
)


@dataclass(frozen=True)
class HubFile:
    """A file on the hub.

    Attributes:
        repo: "OWNER/REPO".
        file: path in the repository, with "/".
        kind: of repository: "model", "space" or "dataset".
        revision: branch, tag or commit.
    """

    repo: str
    file: str
    kind: str = "model"
    revision: str = "main"

    def __str__(self) -> str:
        """The name that `parse_name` reads."""
        kind = "" if self.kind == "model" else f"{self.kind}s/"
        revision = "" if self.revision == "main" else f"@{quote(self.revision, safe='')}"
        return f"{SCHEME}{kind}{self.repo}{revision}/{self.file}"

    @property
    def url(self) -> str:
        """Where the hub gives the file away."""
        return hf_hub_url(self.repo, self.file, repo_type=self.kind, revision=self.revision)

    @property
    def command(self) -> str:
        """The command that downloads the file into the hub's own cache and prints its path."""
        kind = "" if self.kind == "model" else f" --repo-type {self.kind}"
        revision = "" if self.revision == "main" else f" --revision {self.revision}"
        return f"hf download {self.repo} {self.file}{kind}{revision}"


@dataclass(frozen=True)
class _Download:
    """A file in the hub's cache: its path, its commit, and what the hub calls its content by, "" if it is not known."""

    path: Path
    commit: str
    etag: str


def parse_name(name: str) -> HubFile:
    """Read the name of a file on the hub.

    Raises:
        ValueError: if it is of another form.
    """
    match = _NAME.fullmatch(name)
    revision = unquote(match["revision"] or "main") if match else ""
    if match is None or {"", ".", ".."} & {revision, *match["file"].split("/")}:
        raise InputError(
            f"{name} does not name a file on the Hugging Face hub, expected {SCHEME}OWNER/REPO/FILE "
            f"({SCHEME}spaces/OWNER/REPO/FILE for one in a space, OWNER/REPO@REVISION for another revision than main)"
        )
    kind = _KINDS[(match["kind"] or "models").rstrip("/")]
    return HubFile(repo=match["repo"], file=match["file"], kind=kind, revision=revision)


def fetch_from_hub(source: HubFile, *, renew: bool = False) -> Path:
    """Return the local file of weights on the hub, after downloading, checking and converting it the first time.

    Args:
        source: the file.
        renew: ask the hub for it even if it is here, which matters where `revision` is a branch that moved on.

    Returns:
        A safetensors file that holds the tensors of `source` under their published names; the file as it was downloaded
        if there is no room for it.

    Raises:
        FileNotFoundError: if it can neither be downloaded nor found in the hub's cache; the message says how to get it
            by hand.
        ValueError: if it is not what the hub says it is, or holds more than tensors.
    """
    converted = converted_path(source)
    if not renew and kept_commit(source) is not None:
        return converted
    download = _download(source)
    _check(source, download)
    try:
        _convert(source, download, converted)
    except (OSError, SafetensorError) as error:
        logger.warning("%s is not kept as safetensors, so that the next start checks it again: %s", source, error)
        return download.path
    logger.info("%s, commit %s, is kept as %s", source, download.commit, converted)
    return converted


def converted_path(source: HubFile) -> Path:
    """Where `fetch_from_hub` keeps a file.

    Raises:
        RuntimeError: if there is no folder for caches: see `catseg.atomic.cache_folder`.
    """
    repository = cache_folder("weights") / f"{source.kind}s--{source.repo.replace('/', '--')}"
    return repository / quote(source.revision, safe="") / f"{source.file}.safetensors"


def kept_commit(source: HubFile) -> str | None:
    """The commit that the file kept by `fetch_from_hub` is from; None if there is none, or none that can be read."""
    path = converted_path(source)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:  # checks that the file is as long as its header says
            return (file.metadata() or {})["commit"]
    except (OSError, SafetensorError, KeyError) as error:
        logger.warning("%s is damaged and made again: %s", path, error)
        return None


def _download(source: HubFile) -> _Download:
    """Download a file, or find it in the hub's cache where this project or `hf download` put it.

    Raises:
        FileNotFoundError: if neither is possible.
    """
    logger.info("Asking for %s", source.url)
    try:
        found = hf_hub_download(source.repo, source.file, repo_type=source.kind, revision=source.revision)
    except Exception as error:  # the client raises its own kinds, those of its HTTP library, and OSError
        raise FileNotFoundError(_how_to_get(source, error)) from error
    path = Path(found)
    commit = path.parents[len(PurePosixPath(source.file).parts) - 1].name  # snapshots/COMMIT/FILE
    if path.is_symlink():
        return _Download(path=path, commit=commit, etag=path.readlink().name)  # blobs/ETAG
    try:
        etag = get_hf_file_metadata(replace(source, revision=commit).url).etag
    except Exception as error:  # as above
        logger.warning("%s cannot be checked: %s", path, _reason(error))
        etag = None
    return _Download(path=path, commit=commit, etag=etag or "")


def _check(source: HubFile, download: _Download) -> None:
    """Compare a file with the hash that the hub names it by; a damaged one is removed, for else it would be used again.

    Raises:
        ValueError: if they differ.
    """
    if re.fullmatch(r"[0-9a-f]{64}", download.etag):
        start = hashlib.sha256()  # large files
    elif re.fullmatch(r"[0-9a-f]{40}", download.etag):
        start = hashlib.sha1(b"blob %d\0" % download.path.stat().st_size)  # files that git itself stores
    else:  # the hub could not be asked, or a mirror has ways of its own
        logger.warning("%s is used unchecked, since its hash is not known", download.path)
        return
    with download.path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: start).hexdigest()
    if found != download.etag:
        download.path.resolve().unlink()
        download.path.unlink(missing_ok=True)
        raise InputError(
            f"{source} was damaged on its way: its {start.name} is {found}, the hub says {download.etag}. It was "
            f"removed: try again, or {_by_hand(source)}"
        )


def _convert(source: HubFile, download: _Download, converted: Path) -> None:
    checkpoint = read_checkpoint(download.path)
    notes = {"format": "pt", "source": str(source), "commit": download.commit, "etag": download.etag}
    if "__author__" in checkpoint:
        notes["__author__"] = str(checkpoint["__author__"])
    with atomic_path(converted) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # safetensors lets nobody else read its files, but users may share a cache
        save_file(each_its_own(checkpoint["model"]), temporary, metadata=notes)
        temporary.chmod(mode)


def each_its_own(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy what shares its memory with other tensors, which a safetensors file cannot say."""
    taken: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.clone() if storage in taken else tensor.contiguous()
        taken.add(storage)
    return separate


def _how_to_get(source: HubFile, error: Exception) -> str:
    where = f"the Hugging Face {source.kind} {source.repo} (revision {source.revision})"
    return f"cannot get {source.file} from {where}: {_reason(error)}\nTo get it by hand, {_by_hand(source)}"


def _by_hand(source: HubFile) -> str:
    return f"run `{source.command}` or download {source.url}, and give MODEL.WEIGHTS the path of the file"


def _reason(error: Exception) -> str:
    """What went wrong, without the client's advice on its own options."""
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        return _reason(error.__cause__)
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, and the file was not downloaded before"
    if isinstance(error, GatedRepoError):
        return "its owner gives it only to those who ask: ask on its page, then log in by `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return "there is no such repository, or it is private: then log in by `hf auth login`"
    if isinstance(error, RevisionNotFoundError):
        return "the repository has no such revision"
    if isinstance(error, RemoteEntryNotFoundError):
        return "the repository has no such file"
    return " ".join(str(error).split()) or type(error).__name__
