"""What host names resolve to, found so that slow names hold up no other post's."""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic
from typing import Any

from cachetools import TTLCache

from moderation_service.contracts.enums import ImageStatus
from moderation_service.media.loaded_image import ImageFault, TransientFault

Answer = list[tuple[Any, ...]]
Lookup = Callable[[str, int], Answer]
"""Blocking, as `socket.getaddrinfo(host, port)`."""

LOOKUPS_PER_POST = 2
_THREADS = 32
_TTL_S = 30.0
_MAX_ANSWERS = 1024


class DnsCache:
    """Answers of DNS as they came: whoever dials checks the addresses, each time.

    The C library can't be interrupted: a lookup keeps its thread, and its post's turn, until it ends, whoever waits.
    """

    def __init__(self, lookup: Lookup | None = None, *, clock: Callable[[], float] = monotonic) -> None:
        self._lookup = lookup or _lookup
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="media-dns")
        self._under_way: dict[str, asyncio.Future[Answer]] = {}
        self._answers: TTLCache[str, Answer] = TTLCache(_MAX_ANSWERS, _TTL_S, timer=clock)

    async def find(self, host: str, port: int, turns: asyncio.Semaphore) -> Answer:
        """The answer for a name, kept, shared or looked up when one of `turns` is free. Raises ImageFault."""
        if (answer := self._answers.get(host)) is None and host not in self._under_way:
            await turns.acquire()
            if (answer := self._answers.get(host)) is None and host not in self._under_way:
                self._begin(host, port, turns)
            else:  # found or begun for another image since
                turns.release()
        if answer is not None:
            return answer
        lookup = self._under_way[host]
        await asyncio.wait([lookup])  # unlike awaiting it, leaves it to the others when this one is cancelled
        try:
            return lookup.result()
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise TransientFault(why="DNS gave no answer") from None
            raise ImageFault(status=ImageStatus.UNAVAILABLE, why="no such host") from None
        except UnicodeError:
            raise ImageFault(status=ImageStatus.REFUSED, why="host name not allowed") from None

    def close(self) -> None:
        """Wait for no lookup."""
        for lookup in self._under_way.values():
            lookup.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, host: str, port: int, turns: asyncio.Semaphore) -> None:
        lookup = asyncio.get_running_loop().run_in_executor(self._threads, self._lookup, host, port)
        self._under_way[host] = lookup
        lookup.add_done_callback(partial(self._ended, host, turns))

    def _ended(self, host: str, turns: asyncio.Semaphore, lookup: asyncio.Future[Answer]) -> None:
        turns.release()
        del self._under_way[host]
        if not lookup.cancelled() and lookup.exception() is None:
            self._answers[host] = lookup.result()


def _lookup(host: str, port: int) -> Answer:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG))
