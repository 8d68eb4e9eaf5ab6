"""`moderation run`: the worker, built from the settings."""

import asyncio
from functools import partial

import structlog

from moderation_service import __version__
from moderation_service.app.banks import keep_banks
from moderation_service.app.child_safety import check_routes, open_hold
from moderation_service.app.compose import open_judge
from moderation_service.app.reload import reloading
from moderation_service.app.shadow_model import running, shadow_model_of
from moderation_service.app.signals import stop_on_signals
from moderation_service.audits.sampling import check_policy_rates
from moderation_service.child_safety.legal_hold import LegalHold
from moderation_service.kafka.clients import wait_for_broker
from moderation_service.kafka.topic_io import emit_audit
from moderation_service.policies.gate import check_gates
from moderation_service.policies.pack import PolicyPack, load_packs
from moderation_service.settings import Settings
from moderation_service.stream.processor import RecordProcessor
from moderation_service.stream.worker import Worker, tune_garbage_collector
from moderation_service.telemetry import tracing
from moderation_service.telemetry.health import Health
from moderation_service.telemetry.ops import ops_server, record_certificate_expiry

log = structlog.get_logger(__name__)


async def run(settings: Settings) -> None:
    """The service: metrics and probes first, then the model, then the stream, until SIGTERM or SIGINT.

    A thread may still load or score when this returns; nothing that it does is waited for.
    """
    log.info("starting", version=__version__, settings=settings.model_dump(mode="json"))
    record_certificate_expiry(settings.kafka)
    health = Health()
    packs, hold = load_packs(settings.policies), open_hold(settings)
    with tracing.exporting(), stop_on_signals() as stop:
        async with ops_server(settings.ops, health) as port:
            log.info("ops port open", port=port)
            serving = asyncio.create_task(_serve(settings, packs, hold, health, stop))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done() and not health.started:
                serving.cancel()  # the model still loads, and nothing was taken yet
            await asyncio.wait({serving})
            stopping.cancel()
            if not serving.cancelled():
                serving.result()
    log.info("stopped")


async def _serve(
    settings: Settings,
    packs: tuple[PolicyPack, PolicyPack | None],
    hold: LegalHold | None,
    health: Health,
    stop: asyncio.Event,
) -> None:
    timeout_s = settings.engine.startup_timeout_s
    shadow_model = shadow_model_of(settings)
    async with (
        open_judge(settings, *packs, shadow_model=shadow_model, startup_timeout_s=timeout_s) as judge,
        running(settings, shadow_model),
    ):
        await asyncio.to_thread(check_gates, settings, judge.pack, judge.model)
        await wait_for_broker(settings.kafka)  # where there is none, that is said before the banks wait for it
        async with keep_banks(settings.kafka, judge.banks, follow_s=timeout_s):
            check_routes(settings, judge.pack, judge.banks)
            check_policy_rates(settings.audit, (policy.id for policy in judge.pack.enforced))
            health.started = True
            tune_garbage_collector()
            worker = Worker(settings.kafka, RecordProcessor(settings.kafka, judge, hold=hold), health)
            async with reloading(settings, judge, worker.judge_by, partial(emit_audit, settings.kafka)):
                await worker.run(stop)
