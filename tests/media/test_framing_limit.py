"""What an answer may cost beside its body. No deadline ends these fetches: it is longer than the test may take."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from moderation_service.contracts.post import ImageRef
from moderation_service.media.loader import ImageLoader
from moderation_service.settings import MediaSettings

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ServeRaw = Callable[[Talk], Awaitable[int]]
Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[int]]
Reaching = Callable[..., MediaSettings]
MakeImage = Callable[..., bytes]

pytestmark = pytest.mark.timeout(60)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "one-byte chunks": (CHUNKED, b"1\r\nx\r\n" * 1000),
    "one-byte chunks after a large one": (CHUNKED + b"40000\r\n" + b"x" * 0x40000 + b"\r\n", b"1\r\nx\r\n" * 1000),
    "chunks with extensions": (CHUNKED, (b"10;" + b"e" * 900 + b"\r\n" + b"x" * 16 + b"\r\n") * 20),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "103 Early Hints": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n" * 100),
}


async def status(settings: MediaSettings, port: int) -> str:
    async with ImageLoader(settings) as loader:
        return (await loader.load([ImageRef(url=f"http://127.0.0.1:{port}/")])).images[0].status


@pytest.mark.parametrize("name", ENDLESS)
async def test_framing_without_end_is_cut_off_and_not_asked_for_again(
    name: str, serve_raw: ServeRaw, reaching: Reaching
) -> None:
    asked = 0

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        begin, piece = ENDLESS[name]
        writer.write(begin)
        while True:
            writer.write(piece)
            await writer.drain()

    port = await serve_raw(talk)
    assert await status(reaching(port, fetch_timeout_s=300.0), port) in {"too_large", "unavailable"}
    assert asked == 1


async def test_reads_of_single_bytes_are_counted(serve_raw: ServeRaw, reaching: Reaching) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0)  # so that the other end reads each byte by itself

    port = await serve_raw(talk)
    assert await status(reaching(port, fetch_timeout_s=300.0), port) == "too_large"


async def test_chunks_of_an_ordinary_size_are_read_whatever_their_number(
    serve: Serve, reaching: Reaching, make_image: MakeImage
) -> None:
    whole = make_image(size=(1500, 1000), compress_level=0)  # 4.5 MB: more than is read ahead
    asked = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for start in range(0, len(whole), 1024):
            await response.write(whole[start : start + 1024])
        return response

    port = await serve(handler)
    async with ImageLoader(reaching(port)) as loader:
        for _ in range(3):  # over one connection, each counted for itself
            loaded = await loader.load([ImageRef(url=f"http://127.0.0.1:{port}/")])
            assert [image.status for image in loaded.images] == ["judged"]
    assert asked == 3
