"""`moderation console`: pages and API, what they read from Kafka, and what they write to it."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import structlog

from moderation_service import __version__
from moderation_service.app.compose import open_judge
from moderation_service.app.reload import follow, reloading
from moderation_service.app.signals import stop_on_signals
from moderation_service.console.app import build
from moderation_service.console.context import ConsoleContext
from moderation_service.console.sender import Sender
from moderation_service.console.server import serving
from moderation_service.console.store import retention
from moderation_service.console.store.database import own_database
from moderation_service.console.store.ingest import Ingest
from moderation_service.console.store.thumbnails import Thumbnails
from moderation_service.errors import Misconfigured
from moderation_service.judging.judge import Judge
from moderation_service.policies.pack import PATH, PolicyPack, load_packs
from moderation_service.settings import Settings
from moderation_service.telemetry import certificates, metrics, tracing
from moderation_service.telemetry.ops import metrics_server

Work = Callable[[], Coroutine[Any, Any, None]]

log = structlog.get_logger(__name__)


async def run_console(settings: Settings) -> None:
    """The console, until SIGTERM or SIGINT; what is being answered then is finished.

    A thread may still load or score when this returns; nothing that it does is waited for.
    """
    log.info("starting", version=__version__, settings=settings.model_dump(mode="json"))
    certificates.tell(settings.kafka)
    with tracing.exporting(), stop_on_signals() as stop:
        await until(stop, _run(judging_by(settings)))
    log.info("stopped")


async def migrate(settings: Settings) -> None:
    """Make or migrate the tables, and return."""
    console = settings.console.model_copy(update={"migrate": True})
    async with own_database(settings.model_copy(update={"console": console})):
        log.info("tables migrated")


async def until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do it until the process is asked to end, then cancel it and wait for its end. Raises what it raises."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    working.cancel()
    await asyncio.wait({working})
    if not working.cancelled():
        working.result()


async def _run(settings: Settings) -> None:
    pack, shadow_pack = load_packs(settings.policies)
    async with own_database(settings) as database:
        parts = ConsoleContext(settings, database, _always(pack))
        if settings.console.judging_backend == "off":
            await run_parts(parts, partial(following_pack, parts))
            return
        # the pages first: the model may take long, and reviewers do without
        await run_parts(parts, partial(_judge, parts, shadow_pack))


async def _judge(parts: ConsoleContext, shadow_pack: PolicyPack | None) -> None:
    settings, pack = parts.settings, parts.pack()
    async with open_judge(settings, pack, shadow_pack, startup_timeout_s=settings.engine.startup_timeout_s) as judge:
        judge_by(parts, judge)
        async with reloading(settings, judge, partial(judge_by, parts)):
            await asyncio.Event().wait()


def judging_by(settings: Settings) -> Settings:
    """The settings with the engine of `console.judging_backend`. Raises Misconfigured where it has no address."""
    kind = settings.console.judging_backend
    if kind == "off":
        return settings
    if kind == "openai" and settings.engine.base_url is None:
        msg = "console.judging_backend openai needs engine.base_url, the address of a server: http://HOST:PORT/v1"
        raise Misconfigured(msg)
    return settings.model_copy(update={"engine": settings.engine.model_copy(update={"kind": kind})})


def judge_by(parts: ConsoleContext, judge: Judge) -> None:
    """Judge by this one from the next post on, and show its policies."""
    parts.judge, parts.pack = judge, _always(judge.pack)


async def following_pack(parts: ConsoleContext) -> None:
    """Show the newest right policies, without a judge that would ask more of them."""

    async def show(pack: PolicyPack) -> None:
        parts.pack = _always(pack)

    policies = parts.settings.policies
    await follow(PATH, policies.path, policies.reload_seconds, show)


def _is_held(parts: ConsoleContext, what: str) -> bool:
    return any(held.startswith(f"{what}: ") for held in parts.held)


def _say(port: int, ops_port: int) -> None:
    log.info("console open", port=port, ops_port=ops_port)


def _always(pack: PolicyPack) -> Callable[[], PolicyPack]:
    return lambda: pack


async def run_parts(parts: ConsoleContext, *more: Work, opened: Callable[[int, int], None] = _say) -> None:
    """Everything that a console does, with `more` beside it, until cancelled.

    `opened` is told the port of the pages and that of the metrics.

    Raises what the first of them raises that fails, which none should.
    """
    settings = parts.settings
    for what in ("ingest", "outbox"):
        metrics.CONSOLE_HELD.labels(what).set_function(partial(_is_held, parts, what))
    try:
        console = settings.console
        async with (
            metrics_server("console.ops_port", settings.ops.host, console.ops_port) as ops_port,
            serving(build(parts), console.host, console.port) as port,
        ):
            opened(port, ops_port)
            async with asyncio.TaskGroup() as group:
                own: tuple[Work, ...] = (
                    Ingest(parts).run,
                    Sender(parts).run,
                    Thumbnails(settings, parts.database).run,
                    partial(retention.run, parts.database, settings.console),
                )
                for work in (*own, *more):
                    group.create_task(work())
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
