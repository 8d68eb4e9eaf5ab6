"""One TLS context for all Kafka clients of the process, reloaded when a certificate file changes.

A context with the system's CAs takes 56 ms of CPU to build, and every partition has a producer.
"""

import ssl
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import structlog
from pydantic import SecretStr

from moderation_service.errors import Misconfigured
from moderation_service.settings import KafkaSettings

_FILES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile")
_KEPT = 8  # contexts: a process has one, tests have more
_log = structlog.get_logger(__name__)
Stamp = tuple[tuple[int, int, int] | None, ...]
"""Of each file: inode, time of change, size."""


def ssl_context(settings: KafkaSettings) -> ssl.SSLContext:
    """The shared context of these files. Raises Misconfigured for files that can't be read.

    The first call reads them: make it off the event loop.
    """
    return _shared(settings.ssl_cafile, settings.ssl_certfile, settings.ssl_keyfile, settings.ssl_password)


@lru_cache(_KEPT)
def _shared(*files: Any) -> "_Reloading":  # noqa: ANN401 - the four settings
    return _Reloading(*files)


class _Reloading(ssl.SSLContext):
    """Every connection that is opened uses the files as they are then.

    aiokafka's clients hold a context for as long as they live, and connect through `wrap_bio`.
    """

    def __new__(cls, *_: object) -> Self:
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(
        self, cafile: Path | None, certfile: Path | None, keyfile: Path | None, password: SecretStr | None
    ) -> None:
        self._files = (cafile, certfile, keyfile)
        self._password = password
        self._stamp = self._now()
        self._current = self._load()

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:  # noqa: ANN401 - as they come
        now = self._now()
        if now != self._stamp:
            self._stamp = now
            try:
                self._current = self._load()
                _log.info("the TLS certificates were read again")
            except Misconfigured as error:
                _log.warning("the TLS certificates changed and can't be read; the old ones stay", error=str(error))
        return self._current.wrap_bio(*arguments, **named)

    def _now(self) -> Stamp:
        system = ssl.get_default_verify_paths().cafile
        cafile, *own = self._files
        return tuple(map(_stamp, (cafile or (Path(system) if system else None), *own)))

    def _load(self) -> ssl.SSLContext:
        cafile, certfile, keyfile = self._files
        for name, path in zip(_FILES, self._files, strict=True):
            if path is not None and not path.is_file():
                msg = f"kafka.{name} {path}: no such file; it should name a PEM file"
                raise Misconfigured(msg)
        try:
            context = ssl.create_default_context(cafile=cafile)
        except (OSError, ssl.SSLError) as error:
            msg = f"kafka.ssl_cafile {cafile}: {error.strerror or error}; it should hold PEM certificates"
            raise Misconfigured(msg) from error
        if certfile is not None:
            try:
                context.load_cert_chain(certfile, keyfile, self._password.get_secret_value() if self._password else "")
            except (OSError, ssl.SSLError) as error:
                msg = (
                    f"kafka.ssl_certfile {certfile}: {error.strerror or error}; it and ssl_keyfile should be "
                    "a PEM certificate and its key, opened by ssl_password"
                )
                raise Misconfigured(msg) from error
        return context


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size) if found else None
