"""Which images are meant, as references: where each is and what its results are called, without its pixels."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catseg.batch.storage import filesystem, is_remote, open_file, remote_errors
from catseg.errors import InputError
from catseg.file_names import result_names
from catseg.image_files import image_suffixes, why_unreadable
from catseg.segmenting.inputs import InputImage, describe_left_out, find_images

PARQUET = ".parquet"
PATH_COLUMNS, BYTES_COLUMNS, NAME_COLUMN = ("path", "uri", "input"), ("bytes", "image"), "name"


@dataclass(frozen=True)
class Reference:
    """One image.

    Attributes:
        input: its path or address; of one inside a Parquet file, the file's, "#" and the number of its row.
        name: what its results are called: a path relative to the output folder, without suffix.
        state: changes with the image; None for what its file tells, "" where nothing does.
        row: its row in the Parquet file `table`, None if it is a file of its own.
        table: see `row`.
        column: of the Parquet file, with the image's bytes.
    """

    input: str
    name: str
    state: str | None = None
    row: int | None = None
    table: str | None = None
    column: str | None = None

    def image(self, content: bytes | None = None) -> InputImage:
        """Return the image as `catseg.segmenting` has it."""
        if content is None and self.row is None and not is_remote(self.input):
            return InputImage(Path(self.input), self.name, state=self.state)
        path = Path(self.name).with_suffix(PurePosixPath(self.input).suffix if self.row is None else "")
        return InputImage(path, self.name, content, address=self.input, state=self.state or "")


REFERENCE_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("input", "name", "state", "table", "column")] + [("row", pa.int64())]
)


def references_to_table(references: Sequence[Reference]) -> pa.Table:
    """Return references as a table, for engines that hand tables on."""
    return pa.Table.from_pylist([asdict(reference) for reference in references], schema=REFERENCE_SCHEMA)


def references_of_table(table: pa.Table) -> list[Reference]:
    """Return the references in a table."""
    return [Reference(**row) for row in table.to_pylist()]


def find_references(inputs: Sequence[str], output: str) -> tuple[list[Reference], dict[str, str]]:
    """Find the images that are meant.

    Args:
        inputs: each a file, folder or pattern, on this machine as `find_images` takes it, or of fsspec's, such as
            s3://BUCKET/FOLDER, s3://BUCKET/*.jpg; or a Parquet file, or a pattern of several, with paths or addresses
            in a column `path`, `uri` or `input`, relative ones from its own folder, or with encoded images in a column
            `bytes` or `image`; a column `name` says what results are called.
        output: where results go. What lies in it is not taken from a folder that holds it.

    Returns:
        The images, each once, and, by path, why other files are left out.

    Raises:
        FileNotFoundError: if there is nothing at an input.
        ValueError: if there is no image, two have results of one name, or one lies in the output folder.
        OSError: if a folder or table cannot be read.
    """
    tables = [word for word in inputs if word.lower().endswith(PARQUET)]
    remote = [word for word in inputs if is_remote(word) and word not in tables]
    here = [word for word in inputs if word not in tables and word not in remote]
    found: list[Reference] = []
    left_out: dict[str, str] = {}
    if here:
        images, left_out = find_images(here, Path(os.devnull if is_remote(output) else output), recursive=True)
        found += [Reference(str(image.path), image.name) for image in images]
    if remote:
        references, others = _remote_files(remote, output)
        found, left_out = found + references, left_out | others
    for word in tables:
        for table in _expand(word):
            found += _listed(table)
    found = list({reference.input: reference for reference in found}.values())
    for reference in [item for item in found if not _is_unicode(item.input)]:
        left_out[reference.input] = "its name is no valid Unicode, which the manifest needs"
    found = [reference for reference in found if reference.input not in left_out]
    if not found:
        instead = f": {describe_left_out(left_out)}" if left_out else ""
        raise InputError(f"no images in {', '.join(inputs)}{instead}")
    _check(found, output)
    return found, left_out


def _remote_files(words: Sequence[str], output: str) -> tuple[list[Reference], dict[str, str]]:
    found: dict[str, str] = {}  # from address to state
    bases: list[str] = []
    left_out: dict[str, str] = {}
    own = f"{output.rstrip('/')}/"
    for word in words:
        files, base = _list(word)
        bases.append(base)
        for address, state in files.items():
            path = PurePosixPath(address)
            if address.startswith(own) or path.name.startswith("."):
                continue
            if path.suffix.lower() in image_suffixes() or address == word:
                found[address] = state
            else:
                left_out[address] = why_unreadable(Path(path.name)) or "not named as an image"
    paths = [Path(address.partition("://")[2]) for address in found]
    names = result_names(paths, os.path.commonpath(bases)) if bases else []
    references = [Reference(address, name, state) for (address, state), name in zip(found.items(), names, strict=True)]
    return references, left_out


def _list(word: str) -> tuple[dict[str, str], str]:
    """Return the files that a remote word means, from address to state, and the folder that names are relative to."""
    scheme = word.partition("://")[0]
    files, path = filesystem(word)
    with remote_errors(word):
        if "*" in word:
            found = files.glob(path, detail=True)
            base = path.partition("*")[0].rpartition("/")[0]
        elif files.isfile(path):
            found, base = {path: files.info(path)}, path.rpartition("/")[0]
        else:
            found, base = files.find(path, detail=True), path
    if not found:
        raise FileNotFoundError(f"nothing is at {word}")
    kept = {name: facts for name, facts in sorted(found.items()) if facts.get("type") == "file"}
    return {f"{scheme}://{name}": _state(facts) for name, facts in kept.items()}, base.rstrip("/")


def _state(facts: Mapping[str, Any]) -> str:
    """Return what an object store's listing tells of an object that changes with it."""
    return " ".join(str(facts[key]) for key in ("size", "ETag", "etag", "LastModified", "updated") if key in facts)


def _expand(word: str) -> list[str]:
    """Return the Parquet files that a word means."""
    if "*" not in word:
        return [word if is_remote(word) else str(Path(word).expanduser().resolve())]
    if is_remote(word):
        return list(_list(word)[0])
    pattern = Path(word).expanduser().absolute()
    found = sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
    if not found:
        raise FileNotFoundError(f"nothing matches {word}")
    return [str(path) for path in found]


def _listed(table: str) -> list[Reference]:
    """Return the images of a Parquet file."""
    with open_file(table) as source:
        try:
            file = pq.ParquetFile(source)
            columns = file.schema_arrow.names
            wanted = next((name for name in (*PATH_COLUMNS, *BYTES_COLUMNS) if name in columns), None)
            if wanted is None:
                raise InputError(
                    f"{table} has the columns {', '.join(columns)}: expected one of {', '.join(PATH_COLUMNS)} with "
                    f"paths, or of {', '.join(BYTES_COLUMNS)} with encoded images"
                )
            named = NAME_COLUMN in columns
            read = [wanted] * (wanted in PATH_COLUMNS) + [NAME_COLUMN] * named
            content = file.read(columns=read).to_pydict() if read else {}
            rows = file.metadata.num_rows
        except pa.ArrowInvalid as error:
            raise InputError(f"{table} is no Parquet file: {error}") from error
    if wanted in BYTES_COLUMNS:
        names = content.get(NAME_COLUMN) or [f"{Path(table).stem}/{row:09d}" for row in range(rows)]
        return [Reference(f"{table}#{row}", str(names[row]), "", row, table, wanted) for row in range(rows)]
    addresses = [_absolute(path, table, row) for row, path in enumerate(content[wanted])]
    names = content.get(NAME_COLUMN) or _names(addresses)
    return [
        Reference(address, str(name), "" if is_remote(address) else None)
        for address, name in zip(addresses, names, strict=True)
    ]


def _absolute(path: str | None, table: str, row: int) -> str:
    if not path:
        raise InputError(f"{table}: row {row} names no image")
    folder = table.rpartition("/")[0]
    return path if is_remote(path) or Path(path).is_absolute() else f"{folder}/{path}"


def _names(addresses: Sequence[str]) -> list[str]:
    different = list(dict.fromkeys(addresses))
    paths = [Path(f"/{item.partition('://')[2]}" if is_remote(item) else item) for item in different]
    known = dict(zip(different, result_names(paths), strict=True))
    return [known[address] for address in addresses]


def _check(references: Sequence[Reference], output: str) -> None:
    """Check that no result replaces an image or another result."""
    seen: dict[str, str] = {}
    folder = f"{output.rstrip('/')}/"
    for reference in references:
        if reference.input.startswith(folder):
            raise InputError(f"{reference.input} lies in the output folder {output}: choose another one")
        if ".." in PurePosixPath(reference.name).parts or reference.name.startswith("/") or not reference.name:
            raise InputError(f"{reference.input} names its results {reference.name!r}: expected a path in the output")
        other = seen.setdefault(reference.name.casefold(), reference.input)
        if other != reference.input:
            raise InputError(
                f"{reference.input} and {other} would have results of one name, {reference.name}: segment them into "
                "two folders, or give names in a Parquet file"
            )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
