"""Security of Kafka connections: one TLS context for all clients of the process, and token providers for OAUTHBEARER.

The context is reloaded when a certificate file changes. With the system's CAs it takes 56 ms of CPU to build, and every
partition has a producer. Tokens come from OIDC client credentials, a mounted file, or a function of the owner's.
"""

import asyncio
import inspect
import ssl
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import structlog
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError, KafkaError
from pydantic import SecretStr

from moderation_service.errors import Misconfigured
from moderation_service.settings import KafkaSettings

_TIMEOUT_S = 10.0
_USED_SHARE = 0.8  # of a token's life; then a new one is fetched
_DEFAULT_LIFE_S = 300.0  # where the server doesn't say
_REFUSED = range(400, 500)
_FILES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile")
_KEPT = 8  # contexts: a process has one, tests have more
_log = structlog.get_logger(__name__)
Stamp = tuple[tuple[int, int, int] | None, ...]
"""Of each file: inode, time of change, size."""


class TokenRefusedError(KafkaError):  # type: ignore[misc]
    """There is no token, and waiting brings none."""

    def __str__(self) -> str:
        """Our words alone."""
        return str(self.args[0])


def token_provider(settings: KafkaSettings) -> AbstractTokenProvider:
    """Of the process, shared by all its clients. Raises Misconfigured where the owner's function can't be imported."""
    if settings.oauth_token_provider is not None:
        return _imported(settings.oauth_token_provider)
    if settings.oauth_token_file is not None:
        return _File(settings.oauth_token_file)
    assert settings.oauth_token_url is not None  # noqa: S101 - the settings hold it
    return _credentials(
        settings.oauth_token_url, settings.oauth_client_id, settings.oauth_client_secret, settings.oauth_scope
    )


class _File(AbstractTokenProvider):  # type: ignore[misc]
    """Read at every connection, as whoever mounts it renews it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def token(self) -> str:
        try:
            return (await asyncio.to_thread(self._path.read_text, encoding="utf-8")).strip()
        except (OSError, UnicodeDecodeError) as error:
            msg = f"kafka.oauth_token_file {self._path}: {error}; it should hold a token"
            raise TokenRefusedError(msg) from error


class _Function(AbstractTokenProvider):  # type: ignore[misc]
    """What the owner's function returns, or awaits. It is called at every connection, in a thread."""

    def __init__(self, path: str, function: Callable[[], str | Awaitable[str]]) -> None:
        self._path = path
        self._function = function

    async def token(self) -> str:
        try:
            found = await asyncio.to_thread(self._function)
            return await found if inspect.isawaitable(found) else found
        except Exception as error:  # noqa: BLE001 - the owner's function may raise whatever it likes
            msg = f"kafka.oauth_token_provider {self._path}: {type(error).__name__}: {error}"
            raise KafkaConnectionError(msg) from None


class _ClientCredentials(AbstractTokenProvider):  # type: ignore[misc]
    """One token at a time, fetched by one caller while the others wait (RFC 6749, 4.4)."""

    def __init__(self, url: str, client: str, secret: SecretStr, scope: str | None) -> None:
        self._url = url
        login = f"{quote(client, safe='')}:{quote(secret.get_secret_value(), safe='')}"
        self._login = f"Basic {b64encode(login.encode()).decode()}"
        self._form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
        self._token, self._until = "", float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def token(self) -> str:
        if time.monotonic() >= self._until:
            if self._fetching is None or self._fetching.done():
                self._fetching = asyncio.create_task(self._fetch())
            await asyncio.shield(self._fetching)
        return self._token

    async def _fetch(self) -> None:
        begun = time.monotonic()
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_TIMEOUT_S), trust_env=True) as session,
                session.post(self._url, data=self._form, headers={"Authorization": self._login}) as answer,
            ):
                if answer.status in _REFUSED:
                    msg = f"kafka.oauth_token_url {self._url} refused kafka.oauth_client_id ({answer.status})"
                    raise TokenRefusedError(msg)
                answer.raise_for_status()
                found = await answer.json(content_type=None)
                self._token = str(found["access_token"])
                life_s = float(found.get("expires_in") or _DEFAULT_LIFE_S)
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError, AttributeError) as error:
            msg = f"kafka.oauth_token_url {self._url} gave no token: {error or type(error).__name__}"
            raise KafkaConnectionError(msg) from None
        self._until = begun + life_s * _USED_SHARE


@lru_cache(_KEPT)
def _credentials(url: str, client: str, secret: SecretStr, scope: str | None) -> _ClientCredentials:
    return _ClientCredentials(url, client, secret, scope)


@lru_cache(_KEPT)
def _imported(path: str) -> _Function:
    module, _, name = path.partition(":")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        msg = f"kafka.oauth_token_provider {path}: {error}; it should be MODULE:FUNCTION that can be imported"
        raise Misconfigured(msg) from error
    return _Function(path, function)


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
