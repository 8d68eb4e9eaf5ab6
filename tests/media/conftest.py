"""Real parts for the media room: images, servers on loopback, and a record of every socket."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from io import BytesIO
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from moderation_service.settings import MediaSettings

_recorded: list[tuple[str, Any]] | None = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _recorded is None or event not in ("socket.__new__", "socket.connect"):
        return
    family = arguments[1] if event == "socket.__new__" else arguments[0].family
    if family in (socket.AF_INET, socket.AF_INET6):  # an event loop has a pair of Unix sockets for itself
        _recorded.append((event, arguments[1:]))


sys.addaudithook(_audit)


@pytest.fixture
def sockets() -> Iterator[list[tuple[str, Any]]]:
    """What the interpreter itself reports of IP sockets made and connected while the test runs."""
    global _recorded  # noqa: PLW0603 - an audit hook can't be taken away, only silenced
    _recorded = []
    yield _recorded
    _recorded = None


@pytest.fixture
def make_image() -> Callable[..., bytes]:
    """An encoded image of one colour."""

    def make(kind: str = "PNG", size: tuple[int, int] = (8, 6), colour: Any = "red", **options: Any) -> bytes:
        out = BytesIO()
        mode = options.pop("mode", "RGB")
        Image.new(mode, size, colour).save(out, kind, **options)
        return out.getvalue()

    return make


@pytest.fixture
def animation() -> Callable[..., bytes]:
    """An encoded animation whose frame i is grey of the level i × 10."""

    def make(kind: str, frames: int, size: tuple[int, int] = (16, 12), **options: Any) -> bytes:
        out = BytesIO()
        stills = [Image.new("RGB", size, (i * 10,) * 3) for i in range(frames)]
        stills[0].save(out, kind, save_all=True, append_images=stills[1:], duration=40, **options)
        return out.getvalue()

    return make


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[int]]]:
    """Start an HTTP server on loopback for a handler; gives its port."""
    runners = []

    async def start(handler: Handler) -> int:
        runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.2)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return int(runner.addresses[0][1])

    yield start
    for runner in runners:
        await runner.cleanup()


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def serve_raw() -> AsyncIterator[Callable[[Talk], Awaitable[int]]]:
    """Start a server that says what it likes after the request's head; gives its port."""
    servers = []

    async def start(talk: Talk) -> int:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readuntil(b"\r\n\r\n")
                await talk(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def reaching() -> Callable[..., MediaSettings]:
    """Settings under which the given ports of 127.0.0.1 may be dialled, and nothing else of this machine."""

    def make(*ports: int, **changes: Any) -> MediaSettings:
        changes = {
            "allowed_schemes": frozenset({"http"}),
            "allowed_ports": frozenset(ports),
            "allowed_networks": frozenset({ip_network("127.0.0.1/32")}),
            "fetch_timeout_s": 5.0,
            **changes,
        }
        return MediaSettings(**changes)

    return make
