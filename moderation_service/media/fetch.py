"""Images from the web, through the one client that may open a connection to a host named in a post."""

import asyncio
import socket
from contextvars import ContextVar
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from moderation_service.media.dns_cache import DnsCache, Lookup
from moderation_service.media.framing_limit import BoundedConnector, FramingLimitExceeded
from moderation_service.media.gate import AddressRefused, Gate
from moderation_service.media.loaded_image import ImageFault, TransientFault
from moderation_service.settings import MediaSettings

_CHUNK = 64 * 1024
_CONNECTIONS = 128
_OK = 200
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRANSIENT = frozenset({408, 429})
_SERVER_ERROR = 500
_lookups: ContextVar[asyncio.Semaphore] = ContextVar("lookups")  # past aiohttp, to the resolver


class WebFetcher:
    """One session for the whole process; an async context manager."""

    def __init__(self, settings: MediaSettings, *, lookup: Lookup | None = None) -> None:
        self._settings = settings
        self._gate = Gate(settings)
        self._names = DnsCache(lookup)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the session; connects to nothing."""
        settings = self._settings
        patience = settings.fetch_timeout_s / settings.fetch_attempts
        connector = BoundedConnector(
            resolver=_GuardedResolver(self._gate, self._names),
            socket_factory=self._gate.socket,
            use_dns_cache=False,  # each dial is of addresses that were checked for it
            limit=_CONNECTIONS,
            limit_per_host=settings.connections_per_host,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            # The caller holds the deadline; a host that only stalls leaves time for another try.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=patience, sock_read=patience),
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={
                "Accept": "image/avif,image/webp,image/png,image/jpeg,image/gif",
                "Accept-Encoding": "identity",
                "User-Agent": settings.user_agent,
            },
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
        self._names.close()

    async def fetch(self, address: str, *, lookups: asyncio.Semaphore) -> bytes:
        """The bytes behind a URL, one try. Raises ImageFault; TransientFault where another try may help.

        `lookups` bounds the host names looked up at once for the same post.
        """
        _lookups.set(lookups)
        url = self._gate.url(address)
        for _ in range(self._settings.max_redirects + 1):
            try:
                body = await self._get(url)
            except FramingLimitExceeded:
                raise ImageFault(status="too_large", why="framing") from None
            except aiohttp.ClientSSLError:
                raise ImageFault(status="unavailable", why="no trusted TLS") from None
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                refused = isinstance(getattr(error, "os_error", None), AddressRefused)
                if refused or isinstance(error, aiohttp.InvalidURL):
                    raise ImageFault(status="refused", why="address not allowed") from None
                raise TransientFault(why=type(error).__name__) from None
            if isinstance(body, bytes):
                return body
            url = body
        raise ImageFault(status="unavailable", why="too many redirects")

    async def _get(self, url: URL) -> bytes | URL:
        """The body, or the URL that the host redirects to."""
        if self._session is None:
            msg = "the fetcher is used outside its context"
            raise RuntimeError(msg)
        # By hand, so that each hop passes the gate.
        async with self._session.get(url, allow_redirects=False) as response:
            if response.status in _REDIRECTS:
                location = response.headers.get("Location", "")
                if not location:
                    raise ImageFault(status="unavailable", why="redirect to nowhere")
                return self._gate.redirect(url, location)
            if response.status in _TRANSIENT or response.status >= _SERVER_ERROR:
                raise TransientFault(why=f"status {response.status}")
            if response.status != _OK:
                raise ImageFault(status="unavailable", why=f"status {response.status}")
            encodings = response.headers.getall("Content-Encoding", ())
            if any(encoding.strip().lower() not in ("", "identity") for encoding in encodings):
                raise ImageFault(status="refused", why="compressed though identity was asked")
            return await self._body(response)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        limit = self._settings.max_bytes
        if (response.content_length or 0) > limit:
            raise ImageFault(status="too_large", why="announced bytes")
        body = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK):
            body += chunk
            if len(body) > limit:
                raise ImageFault(status="too_large", why="bytes")
        return bytes(body)


class _GuardedResolver(AbstractResolver):
    """Drops answers that may not be dialled, also of those kept from before."""

    def __init__(self, gate: Gate, names: DnsCache) -> None:
        self._gate = gate
        self._names = names

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises ImageFault `refused` when none may be dialled."""
        allowed = [
            ResolveResult(hostname=host, host=address[0], port=port, family=kind, proto=protocol, flags=0)
            for kind, _, protocol, _, address in await self._names.find(host, port, _lookups.get())
            if family in (socket.AF_UNSPEC, kind) and self._gate.allows(str(address[0]))
        ]
        if not allowed:
            raise ImageFault(status="refused", why="address not allowed")
        return allowed

    async def close(self) -> None:
        """The names are the fetcher's."""
