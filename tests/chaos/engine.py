"""An OpenAI-compatible server that answers the same question always alike, and can be slow, hang, fail and die."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from moderation_service.bench.local_kafka import free_port

_FLAGGED = 0.2


class Engine:
    """`delay_s` before each answer; `status` in the place of an answer; nothing at all while `hanging`."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.status = 200
        self.asked = 0
        self._port = free_port()
        self._awake = asyncio.Event()
        self._awake.set()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def hanging(self) -> bool:
        return not self._awake.is_set()

    @hanging.setter
    def hanging(self, hanging: bool) -> None:
        (self._awake.clear if hanging else self._awake.set)()

    async def live(self) -> None:
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._complete)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()

    async def die(self) -> None:
        """Connections are cut, and nobody listens."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "judge", "max_model_len": 4096}]})

    async def _complete(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.asked += 1
        await asyncio.sleep(self.delay_s)
        await self._awake.wait()
        if self.status != 200:
            said = {"error": {"message": "CUDA out of memory", "type": "InternalServerError", "code": self.status}}
            return web.json_response(said, status=self.status)
        yes, no = (-0.1, -3.0) if zlib.crc32(body) < _FLAGGED * 2**32 else (-3.0, -0.1)
        likely = [{"token": "yes", "logprob": yes}, {"token": "no", "logprob": no}]
        choice = {"message": {"content": "no"}, "logprobs": {"content": [{"top_logprobs": likely}]}}
        usage = {"prompt_tokens": 100, "completion_tokens": 1}
        return web.json_response({"model": "judge", "choices": [choice], "usage": usage})


@asynccontextmanager
async def engine() -> AsyncIterator[Engine]:
    made = Engine()
    await made.live()
    try:
        yield made
    finally:
        made.hanging = False
        await made.die()
