"""Hosts that keep a fetch busy before there is a body: each is left within the deadline, in bounded memory."""

import asyncio
import time
import tracemalloc
from collections.abc import Awaitable, Callable

import pytest

from moderation_service.contracts.post import ImageRef
from moderation_service.media.loader import ImageLoader
from moderation_service.settings import MIB, MediaSettings
from tests.media.conftest import reaching, serve_raw

__all__ = ["reaching", "serve_raw"]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
DEADLINE_S = 1.0


async def without_end(writer: asyncio.StreamWriter, begin: bytes, piece: bytes, pause_s: float = 0.0) -> None:
    writer.write(begin)
    while True:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(pause_s)


HOSTS: dict[str, tuple[bytes, bytes, float]] = {
    "drips its status line": (b"HTTP/1.1 200 ", b"O", 0.05),
    "drips headers": (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n", 0.05),
    "sends headers without end": (b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 4000 + b"\r\n", 0.0),
    "sends one header without end": (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 65536, 0.0),
    "asks to go on without end": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.0),
    "drips a body of a byte a second": (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x", 1.0),
    "sends empty chunks' sizes without end": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"0" * 65536,
        0.0,
    ),
    "sends one-byte chunks without end": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1;" + b"e" * 60 + b"\r\nx\r\n",
        0.0,
    ),
    "lies about its length": (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", b"x" * 65536, 0.0),
    "says two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 20\r\n\r\n", b"x" * 65536, 0.0),
    "speaks no HTTP": (b"SSH-2.0-x\r\n", b"x" * 65536, 0.0),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", HOSTS)
async def test_a_host_that_keeps_a_fetch_busy_is_left_at_the_deadline(
    name: str,
    serve_raw: Callable[[Talk], Awaitable[int]],
    reaching: Callable[..., MediaSettings],
) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await without_end(writer, *HOSTS[name])

    port = await serve_raw(talk)
    settings = reaching(port, fetch_timeout_s=DEADLINE_S, fetch_attempts=2, max_bytes=MIB)
    async with ImageLoader(settings) as loader:
        tracemalloc.start()
        begun = time.monotonic()
        try:
            (image,) = (await loader.load([ImageRef(url=f"http://127.0.0.1:{port}/")])).images
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert image.status in {"unavailable", "too_large", "undecodable"}
    assert time.monotonic() - begun < DEADLINE_S + 5  # a busy machine's share
    assert peak < 16 * MIB
