"""An input file as bytes: compressed or not, a pipe, or `-` for standard input."""

import bz2
import gzip
import io
import lzma
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Literal, cast

from moderation_service.encodings import encoding_of
from moderation_service.errors import Misconfigured

Kind = Literal["jsonl", "csv"]

DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a file raises that is cut off or broken."""

_STDIN = {"-", "/dev/stdin"}
_KINDS: dict[str, Kind] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv"}
_COMPRESSED: dict[str, tuple[bytes, Callable[[BinaryIO], object]]] = {
    ".gz": (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    ".bz2": (b"BZh", bz2.BZ2File),
    ".xz": (b"\xfd7zXZ\0", lzma.LZMAFile),
}
_UNREAD = {
    b"PK\x03\x04": "is an Excel workbook or a ZIP archive; save the sheet as CSV UTF-8, or unpack the archive",
    b"\x28\xb5\x2f\xfd": "is compressed by zstd; unpack it: zstd -d FILE",
    b"\xd0\xcf\x11\xe0": "is an Excel workbook; save the sheet as CSV UTF-8",
    b"PAR1": "is a Parquet file; convert it to JSON lines",
}
_HEAD = 4096


def root_of(path: Path) -> Path:
    """The folder that images' paths are relative to: of standard input and of a pipe, the current one."""
    if path.is_dir():
        return path
    return Path() if _read_once(path) else path.parent


def kind_of(path: Path) -> Kind:
    """What a file holds, by its name; by its beginning where it has none. Raises Misconfigured where it is neither."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    try:
        with open_input(path) as file:
            head = file.read(_HEAD)
    except DAMAGED as error:
        raise Misconfigured(cannot_read(path, error)) from error
    if unread := next((why for magic, why in _UNREAD.items() if head.startswith(magic)), None):
        msg = f"{path}: {unread}"
        raise Misconfigured(msg)
    if _read_once(path):
        return "jsonl" if head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").startswith(b"{") else "csv"
    if not suffixes or suffixes[-1] not in _KINDS:
        msg = (
            f"{path}: should be a .jsonl or .csv file, also as .gz, .bz2 or .xz, or a folder of images with texts; "
            "of a JSON array: jq -c '.[]' FILE > FILE.jsonl"
        )
        raise Misconfigured(msg)
    return _KINDS[suffixes[-1]]


def cannot_read(path: Path, error: BaseException) -> str:
    """Why a file can't be read from its beginning."""
    return f"{path}: can't be read ({error}); should be a whole file that you may read"


@contextmanager
def open_input(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be read from its beginning, uncompressed. Raises Misconfigured where it can't be opened."""
    if _read_once(path):
        spool = _spooled(path)
        spool.seek(0)
        yield _uncompressed(spool)
        return
    if path.is_dir() or not path.exists():
        msg = f"{path}: {'is a folder, should be a file' if path.is_dir() else 'no such file or folder'}"
        raise Misconfigured(msg)
    with path.open("rb") as file:
        yield _uncompressed(file)


@contextmanager
def open_text(path: Path) -> Iterator[io.TextIOWrapper]:
    """Open a file as text by its byte order mark, with its line ends as they are.

    Bytes that are no UTF-8 become lone surrogates, so that one row is wrong and the rest goes on.
    """
    with open_input(path) as file:
        encoding = encoding_of(file.read(4))
        file.seek(0)
        errors = "surrogateescape" if encoding.startswith("utf-8") else "replace"
        text = io.TextIOWrapper(file, encoding, errors=errors, newline="")
        try:
            yield text
        finally:
            text.detach()  # or it would close the file, which standard input's may be wanted again


def _uncompressed(file: BinaryIO) -> BinaryIO:
    head = file.read(6)
    file.seek(0)
    opener = next((opener for magic, opener in _COMPRESSED.values() if head.startswith(magic)), None)
    return cast("BinaryIO", opener(file)) if opener else file


def _read_once(path: Path) -> bool:
    """Whether a path is standard input or a pipe."""
    return str(path) in _STDIN or (path.exists() and not path.is_file() and not path.is_dir())


@cache
def _spooled(path: Path) -> BinaryIO:
    """What comes through a pipe, kept in a temporary file: commands read their input twice."""
    spool = cast("BinaryIO", TemporaryFile())  # noqa: SIM115 - for the rest of the process
    if str(path) in _STDIN:
        shutil.copyfileobj(sys.stdin.buffer, spool)
    else:
        with path.open("rb") as pipe:
            shutil.copyfileobj(pipe, spool)
    return spool
