"""Images under one folder of this machine, for `judge` and `demo`: `file:cats/cat.jpg`, relative to that folder."""

import os
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from moderation_service.errors import Misconfigured
from moderation_service.media.loaded_image import ImageFault

_WOULD_BLOCK = getattr(os, "O_NONBLOCK", 0)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


def is_file_url(text: str) -> bool:
    """Whether it names a file of this machine."""
    return text.lstrip()[:5].lower() == "file:"


class FileReader:
    """Reads under `root` and nowhere else, wherever links point. Raises Misconfigured if it is no folder."""

    def __init__(self, root: Path | None, max_bytes: int) -> None:
        if root is None or not root.is_dir():
            msg = f"media.file_root: {root} is no folder; with 'file' in media.allowed_schemes it should name one"
            raise Misconfigured(msg)
        self._root = root.resolve(strict=True)
        self._max_bytes = max_bytes

    def read(self, url: str) -> bytes:
        """The bytes of a file; blocks. Raises ImageFault."""
        path = self.find(url)
        try:
            with open(path, "rb", opener=_open_itself) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise ImageFault(status="refused", why="not a regular file")
                data = file.read(self._max_bytes + 1)
        except OSError:
            raise ImageFault(status="unavailable", why="can't be read") from None
        if len(data) > self._max_bytes:
            raise ImageFault(status="too_large", why="bytes")
        return data

    def find(self, url: str) -> Path:
        """The file that an address names. Raises ImageFault."""
        return self._found(_path_of(url))

    def _found(self, name: str) -> Path:
        """The file of this name as it is written, else with its escapes decoded, else as Windows or macOS writes it."""
        for spelling in dict.fromkeys(_spellings(name)):
            with suppress(FileNotFoundError):
                return self._inside(spelling)
        raise ImageFault(status="unavailable", why="no such file")

    def _inside(self, name: str) -> Path:
        """Raises FileNotFoundError."""
        if not name or name.startswith("~") or "\0" in name:
            raise ImageFault(status="refused", why="not relative to the folder")
        try:
            path = (self._root / name).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # Python 3.11 and 3.12 call a loop of links a RuntimeError
            self._refuse_outside(name)
            raise FileNotFoundError from None
        if not path.is_relative_to(self._root):
            raise ImageFault(status="refused", why="outside the folder")
        return path

    def _refuse_outside(self, name: str) -> None:
        """Outside, say nothing of what exists."""
        if not Path(os.path.normpath(self._root / name)).is_relative_to(self._root):
            raise ImageFault(status="refused", why="outside the folder")


def _path_of(url: str) -> str:
    """The path of a `file:` URL, which may have an authority that names this machine (RFC 8089)."""
    path = url.strip(" \t\r\n\f").partition(":")[2]
    if not path.startswith("//"):
        return path
    host, slash, rest = path[2:].partition("/")
    if host.lower() not in ("", "localhost"):
        raise ImageFault(status="refused", why="on another machine")
    return slash + rest


def _spellings(name: str) -> Iterator[str]:
    for spelling in (name, unquote(name)):
        for path in (spelling, spelling.replace("\\", "/")):
            yield path
            yield unicodedata.normalize("NFC", path)
            yield unicodedata.normalize("NFD", path)


def _open_itself(path: str, flags: int) -> int:
    """The path was resolved, so a link there now was put in its place since; and a pipe must not block the thread."""
    return os.open(path, flags | _NO_FOLLOW | _WOULD_BLOCK)
