"""Images in the owner's storage: `file:cats/cat.jpg` under one folder (for `judge` and `demo`), objects in buckets.

Objects are `s3://bucket/key`, `gs://bucket/key` and `az://container/key`. Endpoints and credentials come from the
cloud's own environment variables and workload identity.
"""

import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from moderation_service.contracts.enums import ImageStatus
from moderation_service.errors import Misconfigured
from moderation_service.media.loaded_image import ImageFault, TransientFault
from moderation_service.settings import MediaSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore.store import ObjectStore, RetryConfig

    OpenStore = Callable[[str, str], ObjectStore]


_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_CHUNK = 256 * 1024
_WOULD_BLOCK = getattr(os, "O_NONBLOCK", 0)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


def is_file_url(text: str) -> bool:
    """Whether it names a file of this machine."""
    return text.lstrip()[:5].lower() == "file:"


class FileReader:
    """Reads under `root` and nowhere else, wherever links point. Raises Misconfigured if it is not a folder."""

    def __init__(self, root: Path | None, max_bytes: int) -> None:
        if root is None or not root.is_dir():
            msg = f"media.file_root: {root} is not a folder; with 'file' in media.allowed_schemes it should name one"
            raise Misconfigured(msg)
        self._root = root.resolve(strict=True)
        self._max_bytes = max_bytes

    def read(self, url: str) -> bytes:
        """The bytes of a file; blocks. Raises ImageFault."""
        path = self.find(url)
        try:
            with open(path, "rb", opener=_open_itself) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise ImageFault(status=ImageStatus.REFUSED, why="not a regular file")
                data = file.read(self._max_bytes + 1)
        except OSError:
            raise ImageFault(status=ImageStatus.UNAVAILABLE, why="can't be read") from None
        if len(data) > self._max_bytes:
            raise ImageFault(status=ImageStatus.TOO_LARGE, why="bytes")
        return data

    def find(self, url: str) -> Path:
        """The file that an address names. Raises ImageFault."""
        return self._found(_path_of(url))

    def _found(self, name: str) -> Path:
        """The file of this name as it is written, else with its escapes decoded, else as Windows or macOS writes it."""
        for spelling in dict.fromkeys(_spellings(name)):
            with suppress(FileNotFoundError):
                return self._inside(spelling)
        raise ImageFault(status=ImageStatus.UNAVAILABLE, why="no such file")

    def _inside(self, name: str) -> Path:
        """Raises FileNotFoundError."""
        if not name or name.startswith("~") or "\0" in name:
            raise ImageFault(status=ImageStatus.REFUSED, why="not relative to the folder")
        try:
            path = (self._root / name).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # Python 3.11 and 3.12 call a loop of links a RuntimeError
            self._refuse_outside(name)
            raise FileNotFoundError from None
        if not path.is_relative_to(self._root):
            raise ImageFault(status=ImageStatus.REFUSED, why="outside the folder")
        return path

    def _refuse_outside(self, name: str) -> None:
        """Outside, say nothing of what exists."""
        if not Path(os.path.normpath(self._root / name)).is_relative_to(self._root):
            raise ImageFault(status=ImageStatus.REFUSED, why="outside the folder")


def _path_of(url: str) -> str:
    """The path of a `file:` URL, which may have an authority that names this machine (RFC 8089)."""
    path = url.strip(" \t\r\n\f").partition(":")[2]
    if not path.startswith("//"):
        return path
    host, slash, rest = path[2:].partition("/")
    if host.lower() not in ("", "localhost"):
        raise ImageFault(status=ImageStatus.REFUSED, why="on another machine")
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


class ObjectReader:
    """One store for each allowed bucket; an entry without a scheme is S3's.

    Raises Misconfigured where the `s3` extra is missing or a bucket can't be set up. Connects to nothing yet.
    """

    def __init__(self, settings: MediaSettings, *, open_store: "OpenStore | None" = None) -> None:
        self._max_bytes = settings.max_bytes
        self._stores = {}
        for entry in sorted(settings.allowed_buckets):
            scheme, _, bucket = entry.rstrip("/").rpartition("://")
            scheme = scheme or "s3"
            if scheme not in ("s3", "gs", "az") or not _BUCKET.fullmatch(bucket):
                msg = f"media.allowed_buckets: {entry!r} is not a bucket; write name, s3://name, gs://name or az://name"
                raise Misconfigured(msg)
            self._stores[scheme, bucket] = (open_store or _open_store)(scheme, bucket)

    async def read(self, reference: str) -> bytes:
        """The bytes of an object, one try. Raises ImageFault; TransientFault where another try may help."""
        scheme, _, path = reference.partition("://")
        bucket, _, key = path.partition("/")
        store = self._stores.get((scheme.lower(), bucket))
        if store is None or not key:
            raise ImageFault(status=ImageStatus.REFUSED, why="bucket not allowed")

        import obstore  # noqa: PLC0415 - the `s3` extra, there if a store is
        from obstore import exceptions  # noqa: PLC0415

        try:
            found = await obstore.get_async(store, key)
            if found.meta["size"] > self._max_bytes:
                raise ImageFault(status=ImageStatus.TOO_LARGE, why="announced bytes")
            body = bytearray()
            async for chunk in found.stream(min_chunk_size=_CHUNK):
                body += chunk
                if len(body) > self._max_bytes:
                    raise ImageFault(status=ImageStatus.TOO_LARGE, why="bytes")
        except FileNotFoundError:
            raise ImageFault(status=ImageStatus.UNAVAILABLE, why="no such object") from None
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError):
            raise ImageFault(status=ImageStatus.UNAVAILABLE, why="no permission") from None
        except (exceptions.InvalidPathError, ValueError):
            raise ImageFault(status=ImageStatus.REFUSED, why="not a key") from None
        except (exceptions.BaseError, OSError) as error:
            raise TransientFault(why=type(error).__name__) from None
        return bytes(body)


def _open_store(scheme: str, bucket: str) -> "ObjectStore":
    try:
        from obstore import exceptions  # noqa: PLC0415 - the `s3` extra
        from obstore.store import AzureStore, GCSStore, S3Store  # noqa: PLC0415
    except ImportError:
        msg = "media.allowed_buckets needs obstore: install moderation-service[s3], or leave the setting empty"
        raise Misconfigured(msg) from None
    # The caller retries, within its deadline. Client options would shut out those of the environment.
    retry: RetryConfig = {"max_retries": 0}
    try:
        if scheme == "gs":
            return GCSStore(bucket, retry_config=retry)
        if scheme == "az":
            return AzureStore(container_name=bucket, retry_config=retry)
        return S3Store(bucket, retry_config=retry)
    except exceptions.BaseError as error:
        reason = str(error).partition("\n")[0]
        msg = f"media.allowed_buckets: {scheme}://{bucket} can't be set up ({reason}); its environment is incomplete"
        raise Misconfigured(msg) from None
