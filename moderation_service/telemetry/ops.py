"""The operations port: `/metrics` and the three probes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from moderation_service import __version__
from moderation_service.errors import Misconfigured
from moderation_service.settings import PREFIX, OpsSettings
from moderation_service.telemetry import metrics, scrape
from moderation_service.telemetry.health import Health


@asynccontextmanager
async def ops_server(settings: OpsSettings, health: Health) -> AsyncIterator[int]:
    """Serve until the block is left; gives the port (of use where the setting is 0).

    Raises Misconfigured when the port is taken.
    """
    probes = (
        web.get("/startupz", _probe(lambda: [] if health.started else ["model not warm"])),
        web.get("/readyz", _probe(lambda: health.not_ready)),
        web.get("/livez", _probe(lambda: [] if health.live else ["the poll loop has stalled"])),
    )
    async with metrics_server("ops.port", settings.host, settings.port, *probes) as port:
        yield port


@asynccontextmanager
async def metrics_server(setting: str, host: str, port: int, *more: web.RouteDef) -> AsyncIterator[int]:
    """Serve `/metrics`, and `more`, until the block is left; gives the port.

    Raises Misconfigured when the port, which `setting` chose, is taken.
    """
    metrics.BUILD_INFO.labels(__version__).set(1)
    app = web.Application()
    app.router.add_routes([web.get("/metrics", _metrics), *more])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            name = f"{PREFIX}{setting.upper().replace('.', '__')}"
            msg = f"{setting} {port}: {error.strerror}; set {name} to a free port"
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
