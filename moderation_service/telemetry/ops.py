"""The operations port: `/metrics` and the three probes; and when the certificates expire."""

import asyncio
import ssl
from _ssl import _test_decode_cert  # type: ignore[attr-defined] # Python's one reader of a PEM file's dates
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from aiohttp import web
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from moderation_service import __version__
from moderation_service.errors import Misconfigured
from moderation_service.settings import PREFIX, KafkaSettings, OpsSettings
from moderation_service.telemetry import metrics
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
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    # on a thread: a gauge may ask the GPU's driver, and the probes must answer whatever that does
    body = await asyncio.to_thread(encode, REGISTRY)
    return web.Response(body=body, headers={"Content-Type": content_type})


def _probe(faults: Callable[[], list[str]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        found = faults()
        return web.json_response({"ok": not found, "reasons": found}, status=503 if found else 200)

    return answer


def record_certificate_expiry(settings: KafkaSettings) -> None:
    """Set the metric for the client's certificate and the authority's (the first one in a file).

    A file that can't be read is left to the client that needs it, which refuses it by name.
    """
    for name in ("ssl_certfile", "ssl_cafile"):
        path = getattr(settings, name)
        with suppress(OSError, ssl.SSLError):
            if path is not None:
                ends = _test_decode_cert(str(path))["notAfter"]
                metrics.CERTIFICATE_EXPIRY.labels(name).set(ssl.cert_time_to_seconds(str(ends)))
