"""A TCP proxy in front of a broker, that can be cut off, be slow, and corrupt bytes.

It hands the broker's own address on unchanged.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Proxy:
    """Forwards to `target` while `through` is set; `black_hole` swallows bytes without closing anything."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.port = 0
        self.delay_s = 0.0
        self.swallow = False
        self.corrupted = b""  # these bytes arrive reversed
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._refuse = False

    def cut(self) -> None:
        """Close every connection and refuse new ones."""
        self._refuse = True
        for writer in self._writers:
            writer.close()

    def mend(self) -> None:
        self._refuse = self.swallow = False
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuse:
            writer.close()
            return
        there, back = await asyncio.open_connection(*self._target)
        self._writers |= {writer, back}
        try:
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        finally:
            for end in (writer, back):
                self._writers.discard(end)
                end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self.corrupted:
                    data = data.replace(self.corrupted, self.corrupted[::-1])
                if not self.swallow:
                    writer.write(data)
                    await writer.drain()
        writer.close()


@asynccontextmanager
async def proxy(host: str, port: int, listen: int) -> AsyncIterator[Proxy]:
    made = Proxy((host, port))
    serving: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        with suppress(OSError, asyncio.CancelledError):
            await made._serve(reader, writer)
        serving.discard(task)

    server = await asyncio.start_server(handle, "127.0.0.1", listen)
    made.port = listen
    try:
        yield made
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await server.wait_closed()
