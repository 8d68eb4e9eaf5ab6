"""The operations port: `/metrics` and the three probes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from moderation_service import __version__
from moderation_service.errors import Misconfigured
from moderation_service.settings import OpsSettings
from moderation_service.telemetry import metrics, scrape
from moderation_service.telemetry.health import Health


@asynccontextmanager
async def ops_server(settings: OpsSettings, health: Health) -> AsyncIterator[int]:
    """Serve until the block is left; gives the port (of use where the setting is 0).

    Raises Misconfigured when the port is taken.
    """
    metrics.BUILD_INFO.labels(__version__).set(1)
    app = web.Application()
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/startupz", _probe(lambda: [] if health.started else ["model not warm"]))
    app.router.add_get("/readyz", _probe(lambda: health.not_ready))
    app.router.add_get("/livez", _probe(lambda: [] if health.live else ["the poll loop has stalled"]))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port)
        try:
            await site.start()
        except OSError as error:
            msg = f"ops.port {settings.port}: {error.strerror}; set MODERATION_OPS__PORT to a free port"
            raise Misconfigured(msg) from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _metrics(request: web.Request) -> web.Response:
    body, content_type = await scrape.page(request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})


def _probe(faults: Callable[[], list[str]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        found = faults()
        return web.json_response({"ok": not found, "reasons": found}, status=503 if found else 200)

    return answer
