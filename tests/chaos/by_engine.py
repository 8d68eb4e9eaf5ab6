"""The engine is slow, hangs, has no memory, dies; posts are poison all at once; a host of images drips."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.chaos.arena import Arena, Scenario
from tests.chaos.traffic import MIX, POISONED
from tests.stream.support import eventually

DRIP_S = 1.0


def engine_troubles(seconds: float) -> Scenario:
    """Slow, then hanging, then without memory, then gone; well in between. Each lasts so long."""

    async def scenario(arena: Arena) -> None:
        engine = arena.engine
        await arena.until_done(100)
        engine.delay_s = 1.0
        await asyncio.sleep(seconds)
        engine.delay_s = 0.0
        arena.did("slow")
        await arena.until_done(100)
        engine.hanging = True
        await asyncio.sleep(seconds)
        engine.hanging = False
        arena.did("hanging")
        await arena.until_done(100)
        engine.status = 500
        await _said(arena, "engine")
        await asyncio.sleep(seconds)
        engine.status = 200
        arena.did("no memory")
        await arena.until_done(100)
        await engine.die()
        await _said(arena, "engine")
        await asyncio.sleep(seconds)
        await engine.live()
        arena.did("dead")
        await arena.until_done(100)

    return scenario


async def poison_burst(arena: Arena) -> None:
    """The breaker opens, readiness falls, and every one of them has its dead letter in the end."""
    await arena.until_done(100)
    arena.traffic.mix = dict(POISONED)
    await _said(arena, "dead letters")
    arena.did("burst")
    arena.traffic.mix = dict(MIX)
    await arena.until_done(100)


async def drip(arena: Arena) -> None:
    """Images of a host that sends a byte a second: other posts go on, and these have their verdicts too."""
    async with _dripping(arena.host_port):
        arena.traffic.images = (f"http://127.0.0.1:{arena.host_port}/slow.png",)
        arena.traffic.mix = {**MIX, "image": 5}
        begun = time.monotonic()
        while time.monotonic() - begun < 15:
            await arena.until_done(50)
        arena.did("drip")
        arena.traffic.mix = dict(MIX)
        sent = await asyncio.to_thread(arena.traffic.end)
        await arena.until_all_done(sent)


async def _said(arena: Arena, reason: str) -> None:
    """Wait until a worker's readiness names it."""

    async def said() -> bool:
        return any([reason in await worker.not_ready() for worker in arena.workers])

    await eventually(said, f"readiness names {reason}", 90)


@asynccontextmanager
async def _dripping(port: int) -> AsyncIterator[None]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(1000):
                writer.write(b"\x89")
                await writer.drain()
                await asyncio.sleep(DRIP_S)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
