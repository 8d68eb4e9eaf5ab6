"""Token providers for SASL OAUTHBEARER: OIDC client credentials, a mounted file, or a function of the owner's."""

import asyncio
import inspect
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from urllib.parse import quote

import aiohttp
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError, KafkaError
from pydantic import SecretStr

from moderation_service.errors import Misconfigured
from moderation_service.settings import KafkaSettings

_TIMEOUT_S = 10.0
_USED_SHARE = 0.8  # of a token's life; then a new one is fetched
_DEFAULT_LIFE_S = 300.0  # where the server doesn't say
_KEPT = 8
_REFUSED = range(400, 500)


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
