"""`moderation console`: pages and API, background jobs, policies and the judge, built from the settings."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from math import inf
from typing import TypeVar

import structlog

from moderation_service import __version__
from moderation_service.app.banks import keep_banks, open_banks
from moderation_service.app.child_safety import check_routes, open_hold
from moderation_service.app.compose import open_judge
from moderation_service.app.reload import follow, reloading
from moderation_service.app.signals import run_until, stop_on_signals
from moderation_service.audits.sampling import check_policy_rates
from moderation_service.console.app import build
from moderation_service.console.context import ConsoleContext
from moderation_service.console.server import serving
from moderation_service.console.store import error_rate_metrics, retention
from moderation_service.console.store.database import own_database
from moderation_service.console.store.ingest import Ingest
from moderation_service.console.store.outbox import OutboxSender
from moderation_service.console.store.thumbnails import Thumbnails
from moderation_service.errors import Misconfigured
from moderation_service.judging.judge import Judge
from moderation_service.policies.gate import check_gates
from moderation_service.policies.pack import PATH, PolicyPack, load_packs
from moderation_service.settings import Settings
from moderation_service.telemetry import metrics, tracing
from moderation_service.telemetry.ops import metrics_server, record_certificate_expiry

_T = TypeVar("_T")

log = structlog.get_logger(__name__)


async def run_console(settings: Settings) -> None:
    """The console, until SIGTERM or SIGINT; requests in progress are finished.

    A thread may still load or score when this returns; nothing that it does is waited for.
    """
    log.info("starting", version=__version__, settings=settings.model_dump(mode="json"))
    record_certificate_expiry(settings.kafka)
    with tracing.exporting(), stop_on_signals() as stop:
        await run_until(stop, _run(with_judging_engine(settings)))
    log.info("stopped")


async def migrate(settings: Settings) -> None:
    """Create or migrate the tables, and return."""
    console = settings.console.model_copy(update={"migrate": True})
    async with own_database(settings.model_copy(update={"console": console})):
        log.info("tables migrated")


async def _run(settings: Settings) -> None:
    pack, shadow_pack = load_packs(settings.policies)
    async with own_database(settings) as database:
        context = ConsoleContext(settings, database, pack, legal_hold=open_hold(settings))
        async with running_console(context) as (port, ops_port):
            log.info("console open", port=port, ops_port=ops_port)
            if settings.console.judging_backend == "off":
                await asyncio.gather(follow_pack(context), follow_banks(context))
            else:  # the pages are open already: the model may take long to load, and reviewers don't need it
                await _judge(context, shadow_pack)
            await asyncio.Event().wait()


@asynccontextmanager
async def running_console(context: ConsoleContext) -> AsyncIterator[tuple[int, int]]:
    """Serve pages, API and metrics, and run the background jobs; gives the ports of the pages and of the metrics.

    Raises what the first job that fails raises; none should fail.
    """
    settings, console = context.settings, context.settings.console
    for what in ("ingest", "outbox", "banks"):
        metrics.CONSOLE_HELD.labels(what).set_function(partial(_is_held, context, what))
    jobs = (
        Ingest(context).run,
        OutboxSender(context).run,
        Thumbnails(settings, context.database).run,
        partial(retention.run, context),
        partial(error_rate_metrics.run, context),
    )
    try:
        async with (
            metrics_server("console.ops_port", settings.ops.host, console.ops_port) as ops_port,
            serving(build(context), console.host, console.port) as port,
            asyncio.TaskGroup() as group,
        ):
            tasks = [group.create_task(job()) for job in jobs]
            yield port, ops_port
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as failed:
        error: BaseException = failed
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


async def _judge(context: ConsoleContext, shadow_pack: PolicyPack | None) -> None:
    """Judge for callers with an engine of the console's own, until cancelled."""
    settings, timeout_s = context.settings, context.settings.engine.startup_timeout_s
    async with (
        open_judge(settings, context.pack, shadow_pack, startup_timeout_s=timeout_s) as judge,
        _waiting_for_banks(context, keep_banks(settings.kafka, judge.banks, follow_s=inf)),
    ):
        check_routes(settings, judge.pack, judge.banks)
        check_policy_rates(settings.audit, (policy.id for policy in judge.pack.enforced))
        await asyncio.to_thread(check_gates, settings, judge.pack, judge.model)
        judge_by(context, judge)
        async with reloading(settings, judge, partial(judge_by, context)):
            await asyncio.Event().wait()


def judge_by(context: ConsoleContext, judge: Judge) -> None:
    """From the next post on, judge by this judge and show its policies and banks."""
    context.judge, context.pack, context.banks = judge, judge.pack, judge.banks


async def follow_pack(context: ConsoleContext) -> None:
    """Show each valid change of the policies, without a judge that would ask more of them."""

    async def show(pack: PolicyPack) -> None:
        context.pack = pack

    policies = context.settings.policies
    await follow(PATH, policies.path, policies.reload_seconds, show)


async def follow_banks(context: ConsoleContext) -> None:
    """Know the banks without a judge that would match them."""
    async with _waiting_for_banks(context, open_banks(context.settings, follow_s=inf)) as context.banks:
        await asyncio.Event().wait()


@asynccontextmanager
async def _waiting_for_banks(context: ConsoleContext, opening: AbstractAsyncContextManager[_T]) -> AsyncIterator[_T]:
    """Open the banks, for as long as it takes: pages are served meanwhile, and `/readyz` names what is waited for."""
    context.hold("banks", f"topic {context.settings.kafka.banks_topic} is not read yet")
    async with opening as banks:
        context.hold("banks", None)
        yield banks


def with_judging_engine(settings: Settings) -> Settings:
    """The settings with the engine of `console.judging_backend`. Raises Misconfigured if that has no address."""
    kind = settings.console.judging_backend
    if kind == "off":
        return settings
    if kind == "openai" and settings.engine.base_url is None:
        msg = "console.judging_backend openai needs engine.base_url, the address of a server: http://HOST:PORT/v1"
        raise Misconfigured(msg)
    return settings.model_copy(update={"engine": settings.engine.model_copy(update={"kind": kind})})


def _is_held(context: ConsoleContext, what: str) -> bool:
    return any(held.startswith(f"{what}: ") for held in context.held)
