"""HTTP client of an OpenAI-compatible server: bounded concurrency, retries, a circuit breaker, no content in errors."""

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from io import BytesIO
from typing import Any, TypeVar

import aiohttp
import structlog
from pydantic import BaseModel, ValidationError

from moderation_service import __version__
from moderation_service.backoff import Backoff
from moderation_service.errors import Fatal, Misconfigured, Transient
from moderation_service.settings import EngineSettings

ATTEMPTS = 4
LONGEST_WAIT_S = 30.0
"""A server that asks for more is not waited for here: whoever asked tries again later."""

BACKOFF = Backoff(first_s=0.4, longest_s=5.0)
FAILURES = 5
"""In a row, over all calls at once: one bad server of many behind an address does not open the breaker."""

COOL_DOWN_S = 5.0
TIMEOUT, UNREACHABLE, UNAVAILABLE = "server_timeout", "server_unreachable", "server_unavailable"
ERROR, GARBLED = "server_error", "server_garbled"
"""Reasons of ServerFailed."""

_OK = 200
_BUSY = 429
_AGAIN = frozenset({408, 425})
_SERVER_ERROR = 500
_TOO_LONG = re.compile(r"context.length|model.length|too long|max_tokens", re.IGNORECASE)
"""What OpenAI, vLLM and SGLang say of it, in all their versions, in a plain status 400."""

_OF_THE_REQUEST = frozenset({400, 413, 422})
Parsed = TypeVar("Parsed", bound=BaseModel)
log = structlog.get_logger(__name__)


class ServerBusy(Transient):
    """The server is there and has too much to do."""

    def __init__(self, wait_s: float | None) -> None:
        super().__init__("server_busy", "the engine's server is busy (status 429)")
        self.wait_s = wait_s


class ServerFailed(Transient):
    """The server is away, broken or talks nonsense; `wait_s` is how long it asks to be left alone, if it says so."""

    def __init__(self, reason: str, message: str, wait_s: float | None = None) -> None:
        super().__init__(reason, message)
        self.wait_s = wait_s


class RequestRefused(Exception):  # noqa: N818 - no fate yet: that depends on what was asked
    """The server will not do what was asked. What it `said` may quote the post, and is for no log."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.said = said

    @property
    def too_long(self) -> bool:
        """Whether less of a post might be taken."""
        return self.status in _OF_THE_REQUEST and bool(_TOO_LONG.search(self.said))


class CircuitBreaker:
    """Circuit breaker: open after FAILURES failures in a row, so that calls fail at once.

    After a cool-down one call is let through to try.
    """

    def __init__(self, *, cool_down_s: float = COOL_DOWN_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._cool_down_s = cool_down_s
        self._clock = clock
        self._failed = 0
        self._failed_at = 0.0
        self._trying = False

    @contextmanager
    def call(self, *, probe: bool = False) -> Iterator[None]:
        """Make a call inside. Raises Transient, `circuit_open`, where it is not to be made; a probe always is.

        ServerFailed counts against the server; whatever else comes back shows that it is there.
        """
        trial = not probe and self._admit()
        try:
            yield
        except ServerFailed:
            self._fail()
            raise
        except Exception:
            self._succeed()
            raise
        else:
            self._succeed()
        finally:  # a call that is cancelled says nothing of the server, and lets another try
            if trial:
                self._trying = False

    def _admit(self) -> bool:
        """Whether the call is the trial of an open breaker."""
        if self._failed < FAILURES:
            return False
        if self._trying or self._clock() < self._failed_at + self._cool_down_s:
            reason = "circuit_open"
            raise Transient(
                reason, f"the engine's server failed {self._failed} times in a row; its circuit breaker is open"
            )
        self._trying = True
        return True

    def _fail(self) -> None:
        self._failed += 1
        self._failed_at = self._clock()
        if self._failed == FAILURES:
            log.warning(
                "circuit breaker open: nothing is sent to the server",
                failures=self._failed,
                cool_down_s=self._cool_down_s,
            )

    def _succeed(self) -> None:
        if self._failed >= FAILURES:
            log.info("the engine's server is back")
        self._failed = 0


class OpenAIClient:
    """One address, with one server or many behind it. `open` it before and `close` it after use."""

    def __init__(self, settings: EngineSettings, breaker: CircuitBreaker, backoff: Backoff = BACKOFF) -> None:
        """Raises Misconfigured for a key that can't be sent."""
        key = settings.api_key.get_secret_value() if settings.api_key else ""
        if not key.isascii() or not key.isprintable():
            msg = "engine.api_key: holds characters that can't be sent; it should be one line of ASCII"
            raise Misconfigured(msg)
        self._headers = {"User-Agent": f"moderation-service/{__version__}"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._base_url = (settings.base_url or "").rstrip("/")
        self._timeout_s = settings.request_timeout_s
        self._slots = asyncio.Semaphore(settings.concurrent_requests)
        self._breaker, self._backoff = breaker, backoff
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Connects to nothing yet."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # the slots are the limit
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(
        self,
        path: str,
        answer: type[Parsed],
        body: dict[str, Any] | None = None,
        *,
        probe: bool = False,
        has_fallback: bool = False,
    ) -> Parsed:
        """GET a path, or POST a body there; a `probe` is made though the breaker is open.

        With `has_fallback`, where another request can have the same answer, an error or a garbled answer is a refusal:
        it is neither tried again nor counted against the server.
        Raises RequestRefused for a status that says no, Transient where tries did not help, Fatal where it is not open.
        """
        sent = None if body is None else json.dumps(body).encode()
        async with self._slots:  # also while it waits to try again: a server in distress is asked for less
            with self._breaker.call(probe=probe):
                failures = 0
                while True:
                    try:
                        return await self._ask_once(path, answer, sent, has_fallback=has_fallback)
                    except (ServerBusy, ServerFailed) as error:
                        failures += 1
                        wait_s = self._backoff.delay_s(failures) if error.wait_s is None else error.wait_s
                        # A timeout has taken long enough.
                        if failures == ATTEMPTS or error.reason == TIMEOUT or wait_s > LONGEST_WAIT_S:
                            raise
                    await self._backoff.sleep(wait_s)

    async def _ask_once(self, path: str, answer: type[Parsed], sent: bytes | None, *, has_fallback: bool) -> Parsed:
        if self._session is None:
            msg = "the engine is not running"
            raise Fatal(msg)
        try:
            # Redirects are refused: a post and a key go where the settings say, and nowhere else.
            async with self._session.request(
                "GET" if sent is None else "POST",
                f"{self._base_url}/{path}",
                data=None if sent is None else BytesIO(sent),  # which is sent in pieces, and lets others in between
                headers={"Content-Type": "application/json"},
                allow_redirects=False,
            ) as response:
                raw = await response.read()
        except TimeoutError:
            raise ServerFailed(TIMEOUT, f"no answer of the engine's server in {self._timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            # The class alone: a library's message may quote what it was given.
            raise ServerFailed(UNREACHABLE, f"the engine's server can't be reached: {type(error).__name__}") from None
        status, wait_s = response.status, _retry_after(response.headers.get("Retry-After", ""))
        if status == _BUSY:
            raise ServerBusy(wait_s)
        if status == _SERVER_ERROR and has_fallback:
            raise RequestRefused(status, raw.decode(errors="replace"))
        if status >= _SERVER_ERROR or status in _AGAIN:
            reason = ERROR if status == _SERVER_ERROR else UNAVAILABLE
            raise ServerFailed(reason, f"the engine's server failed (status {status})", wait_s)
        if status != _OK:
            raise RequestRefused(status, raw.decode(errors="replace"))
        try:
            return answer.model_validate_json(raw)
        except ValidationError as error:
            if has_fallback:
                raise RequestRefused(status, raw.decode(errors="replace")) from None
            fault = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, fault["loc"]))
            msg = f"the engine's server answered what can't be read: {where or 'all of it'}: {fault['type']}"
            raise ServerFailed(GARBLED, msg) from None


def _retry_after(header: str) -> float | None:
    """The header's seconds, or those until its date; None where it says neither."""
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
