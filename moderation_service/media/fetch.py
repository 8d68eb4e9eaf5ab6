"""Images from the web, through the one client that may open a connection to a host named in a post.

Bounded beside the body too: framing, interim answers (1xx) and reads of a few bytes.
"""

import asyncio
import functools
import socket
from contextvars import ContextVar
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.streams import StreamReader
from yarl import URL

from moderation_service.contracts.enums import ImageStatus
from moderation_service.media.dns_cache import DnsCache, Lookup
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

FRAMING_BYTES = 64 * 1024
"""Of heads, chunk sizes and interim answers, however short the body is."""
FRAMING_SHARE = 8
"""Beyond them, one byte of framing for so many of the body: chunks of 64 bytes on average."""
READS = 1024
"""From the socket, however few bytes come; beyond them, one for every `BYTES_A_READ` that came."""
BYTES_A_READ = 128
_PIECE = 16 * 1024


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
                raise ImageFault(status=ImageStatus.TOO_LARGE, why="framing") from None
            except aiohttp.ClientSSLError:
                raise ImageFault(status=ImageStatus.UNAVAILABLE, why="no trusted TLS") from None
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                refused = isinstance(getattr(error, "os_error", None), AddressRefused)
                if refused or isinstance(error, aiohttp.InvalidURL):
                    raise ImageFault(status=ImageStatus.REFUSED, why="address not allowed") from None
                raise TransientFault(why=type(error).__name__) from None
            if isinstance(body, bytes):
                return body
            url = body
        raise ImageFault(status=ImageStatus.UNAVAILABLE, why="too many redirects")

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
                    raise ImageFault(status=ImageStatus.UNAVAILABLE, why="redirect to nowhere")
                return self._gate.redirect(url, location)
            if response.status in _TRANSIENT or response.status >= _SERVER_ERROR:
                raise TransientFault(why=f"status {response.status}")
            if response.status != _OK:
                raise ImageFault(status=ImageStatus.UNAVAILABLE, why=f"status {response.status}")
            encodings = response.headers.getall("Content-Encoding", ())
            if any(encoding.strip().lower() not in ("", "identity") for encoding in encodings):
                raise ImageFault(status=ImageStatus.REFUSED, why="compressed though identity was asked")
            return await self._body(response)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        limit = self._settings.max_bytes
        if (response.content_length or 0) > limit:
            raise ImageFault(status=ImageStatus.TOO_LARGE, why="announced bytes")
        body = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK):
            body += chunk
            if len(body) > limit:
                raise ImageFault(status=ImageStatus.TOO_LARGE, why="bytes")
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
            raise ImageFault(status=ImageStatus.REFUSED, why="address not allowed")
        return allowed

    async def close(self) -> None:
        """The names are the fetcher's."""


class FramingLimitExceeded(aiohttp.ClientError):
    """The host sent far more framing than body; another try would cost as much."""


class BoundedConnector(aiohttp.TCPConnector):
    """A connector whose connections raise FramingLimitExceeded.

    aiohttp has no setting for it (https://docs.aiohttp.org/en/stable/client_reference.html#aiohttp.TCPConnector).
    So the factory of protocols is replaced. `tests/media/test_framing_limit.py` fails where a later aiohttp makes them
    otherwise.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - aiohttp's own
        super().__init__(**options)
        self._factory = functools.partial(_BoundedHandler, loop=self._loop)  # type: ignore[assignment] # partial is invariant


class _BoundedHandler(ResponseHandler):
    """Counts what comes for one request."""

    _received = 0  # bytes
    _reads = 0
    _last_payload: StreamReader | None = None  # of the request before

    def set_response_params(self, **params: Any) -> None:  # noqa: ANN401 - aiohttp's own
        """A request begins."""
        self._received = self._reads = 0
        self._last_payload = self._payload
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Parse in pieces, so that no single read holds up the loop for long."""
        self._reads += 1
        for start in range(0, max(len(data), 1), _PIECE):  # an empty one goes on with what the parser held back
            piece = data[start : start + _PIECE]
            self._received += len(piece)
            super().data_received(piece)
            if self.transport is None or self.transport.is_closing():
                return
            if self._is_over():
                error = FramingLimitExceeded("framing over the limit")
                self.set_exception(error)
                if self._payload is not None:
                    self._payload.set_exception(error)
                self.transport.abort()
                return

    def _is_over(self) -> bool:
        if self._reading_paused:  # the parser holds back body that came
            return False
        body = 0 if self._payload in (None, self._last_payload) else self._payload.total_bytes
        return (
            self._received - body > FRAMING_BYTES + body // FRAMING_SHARE
            or self._reads > READS + self._received // BYTES_A_READ
        )
