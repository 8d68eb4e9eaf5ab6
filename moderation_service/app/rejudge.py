"""`moderation rejudge`: the worker over past posts, under another pack, in a group of its own."""

import asyncio
import os
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from moderation_service.app.banks import keep_banks
from moderation_service.app.child_safety import check_routes, open_hold
from moderation_service.app.compose import open_judge
from moderation_service.app.signals import stop_on_signals
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import Settings
from moderation_service.stream.rejudge import (
    Pace,
    Publish,
    RejudgeProcessor,
    begin_at,
    beside_live_posts,
    group_of,
    make_plan,
)
from moderation_service.stream.rejudge_plan import RejudgePlan
from moderation_service.stream.worker import Worker
from moderation_service.telemetry.health import Health

_NICENESS = 10  # live workers on this machine go first
_LOOK_S = 2.0  # to count a million posts takes a tenth of a second

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rejudge:
    """What is judged again, and what is published. `rate`: posts a second at most; `most_lag`: of live posts."""

    since: datetime
    publish: Publish = "none"
    decision: str | None = None
    rate: float | None = None
    most_lag: int = 100


async def rejudge(
    settings: Settings, pack: PolicyPack, wanted: Rejudge, folder: Path, on_progress: Callable[[int, int], None]
) -> bool:
    """Judge past posts by `pack`, from where an earlier run in this folder stopped; whether all is done.

    SIGTERM and SIGINT drain and end it. Raises Misconfigured where the folder has another rejudge, Fatal as the worker.
    """
    with closing(RejudgePlan(folder / "plan.db")) as plan, stop_on_signals() as stopped:
        named = {"pack": pack.digest, "decision": wanted.decision, "publish": wanted.publish}
        await make_plan(settings.kafka, plan, wanted.since, wanted.decision, named)
        kafka = settings.kafka.model_copy(update={"group": group_of(settings.kafka, plan)})
        await begin_at(kafka, plan)
        posts, done = plan.count()
        log.info("rejudging", posts=posts, done=done, group=kafka.group, digest=pack.digest)
        with suppress(OSError):
            os.nice(_NICENESS)
        follow_s, pace = settings.engine.startup_timeout_s, Pace(wanted.rate)
        async with (
            open_judge(settings, pack, startup_timeout_s=follow_s) as judge,
            keep_banks(kafka, judge.banks, follow_s=follow_s),
            beside_live_posts(settings.kafka, kafka, plan, pace, wanted.most_lag) as finished,
        ):
            check_routes(settings, pack, judge.banks)
            hold = open_hold(settings)
            records = RejudgeProcessor(kafka, judge, hold=hold, plan=plan, pace=pace, publish=wanted.publish)
            telling = asyncio.create_task(_tell(plan, on_progress, stopped, finished))
            await Worker(kafka, records, Health()).run(finished)
            telling.cancel()
        on_progress(*plan.count())
        return not stopped.is_set()


async def _tell(
    plan: RejudgePlan, on_progress: Callable[[int, int], None], stopped: asyncio.Event, stop: asyncio.Event
) -> None:
    while True:
        on_progress(*plan.count())
        if stopped.is_set():
            stop.set()
        await asyncio.sleep(_LOOK_S)
