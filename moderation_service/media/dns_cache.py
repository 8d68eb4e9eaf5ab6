"""What host names resolve to, found so that slow names hold up no other post's."""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic
from typing import Any

from moderation_service.media.outcome import ImageFault, TransientFault

Answer = list[tuple[Any, ...]]
Lookup = Callable[[str, int], Answer]
"""Blocking, as `socket.getaddrinfo(host, port)`."""

LOOKUPS_PER_POST = 2
_THREADS = 32
_KEPT_S = 30.0
_MAX_KEPT = 1024


class DnsCache:
    """Answers of DNS as they came: whoever dials checks the addresses, each time.

    The C library can't be interrupted: a lookup keeps its thread, and its post's turn, until it ends, whoever waits.
    """

    def __init__(self, lookup: Lookup | None = None, *, clock: Callable[[], float] = monotonic) -> None:
        self._lookup = lookup or _lookup
        self._clock = clock
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="media-dns")
        self._under_way: dict[str, asyncio.Future[Answer]] = {}
        self._kept: dict[str, tuple[float, Answer]] = {}  # oldest first, each with when it ends

    async def find(self, host: str, port: int, turns: asyncio.Semaphore) -> Answer:
        """The answer for a name, kept, shared or looked up when one of `turns` is free. Raises ImageFault."""
        if self._needed(host):
            await turns.acquire()
            if self._needed(host):
                self._begin(host, port, turns)
            else:  # found or begun for another image since
                turns.release()
        if (lookup := self._under_way.get(host)) is None:
            return self._kept[host][1]
        await asyncio.wait([lookup])  # unlike awaiting it, leaves it to the others when this one is cancelled
        try:
            return lookup.result()
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise TransientFault(why="DNS gave no answer") from None
            raise ImageFault(status="unavailable", why="no such host") from None
        except UnicodeError:
            raise ImageFault(status="refused", why="host name not allowed") from None

    def close(self) -> None:
        """Wait for no lookup."""
        for lookup in self._under_way.values():
            lookup.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _needed(self, host: str) -> bool:
        until, _ = self._kept.get(host, (0.0, None))
        return host not in self._under_way and until <= self._clock()

    def _begin(self, host: str, port: int, turns: asyncio.Semaphore) -> None:
        lookup = asyncio.get_running_loop().run_in_executor(self._threads, self._lookup, host, port)
        self._under_way[host] = lookup
        lookup.add_done_callback(partial(self._ended, host, turns))

    def _ended(self, host: str, turns: asyncio.Semaphore, lookup: asyncio.Future[Answer]) -> None:
        turns.release()
        del self._under_way[host]
        self._kept.pop(host, None)
        if lookup.cancelled() or lookup.exception() is not None:
            return
        self._kept[host] = self._clock() + _KEPT_S, lookup.result()
        if len(self._kept) > _MAX_KEPT:
            del self._kept[next(iter(self._kept))]


def _lookup(host: str, port: int) -> Answer:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG))
