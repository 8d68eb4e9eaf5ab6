"""An OpenAI-compatible server for tests, which answers, or fails, as it is told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from aiohttp import web

from moderation_service.backoff import Backoff

SHORT_BACKOFF = Backoff(first_s=0.001, longest_s=0.001)
Json = dict[str, Any]


class Completing(Protocol):
    """What a server needs: the models it lists, and an answer to each chat request."""

    models: list[Json]

    async def complete(self, request: web.Request) -> web.StreamResponse: ...


@asynccontextmanager
async def serving(server: Completing, port: int = 0) -> AsyncIterator[str]:
    """The server's base URL, on loopback."""

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": server.models})

    app = web.Application(client_max_size=2**28)
    app.router.add_get("/v1/models", models)
    app.router.add_post("/v1/chat/completions", server.complete)
    runner = web.AppRunner(app, shutdown_timeout=0.2, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ScriptedServer:
    """Answers the n-th chat request by the n-th entry of `script`, and those behind it well."""

    def __init__(self, *script: Answer) -> None:
        self.models: list[Json] = [{"id": "judge", "object": "model"}]
        self.script = list(script)
        self.well: Answer = well
        self.times: list[float] = []
        self.bodies: list[Json] = []
        self.headers: list[dict[str, str]] = []
        self.now = self.peak = 0

    async def complete(self, request: web.Request) -> web.StreamResponse:
        self.times.append(asyncio.get_running_loop().time())
        self.bodies.append(await request.json())
        self.headers.append(dict(request.headers))
        self.now += 1
        self.peak = max(self.peak, self.now)
        try:
            return await (self.script.pop(0) if self.script else self.well)(request)
        finally:
            self.now -= 1


def completion(likely: Sequence[tuple[str, float]] = (("yes", -0.5), ("no", -1.5)), **changes: Any) -> Json:
    """A right answer with these likely tokens, of a model that counts a token a character."""
    top = [{"token": token, "logprob": logprob, "bytes": list(token.encode())} for token, logprob in likely]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "judge",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": top[0]["token"]},
                "logprobs": {"content": [{**top[0], "top_logprobs": top}]},
                "finish_reason": "length",
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101},
        **changes,
    }


async def well(_: web.Request) -> web.Response:
    return web.json_response(completion())


def answering(body: Json) -> Answer:
    """Answers with this JSON."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(body)

    return answer


def failing(status: int, text: str = "no", **headers: str) -> Answer:
    """Answers with a status."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(
            status=status, text=text, headers={name.replace("_", "-"): headers[name] for name in headers}
        )

    return answer


def saying(text: str) -> Answer:
    """Answers well but for what it says."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type="application/json")

    return answer


async def cut(request: web.Request) -> web.StreamResponse:
    """Breaks off in the middle of an answer."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"model": ')
    assert request.transport
    request.transport.close()
    return response


async def silent(_: web.Request) -> web.StreamResponse:
    """Never answers."""
    await asyncio.Event().wait()
    raise AssertionError
