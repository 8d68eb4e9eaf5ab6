"""`moderation demo --serve`: embedded broker, worker and console in one process, with a post every few seconds."""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.app.banks import keep_banks
from moderation_service.app.compose import open_judge
from moderation_service.app.console import running_console
from moderation_service.app.signals import run_until, stop_on_signals
from moderation_service.console.accounts import api_keys, users
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store.database import own_database
from moderation_service.contracts.post import Post
from moderation_service.demo import samples
from moderation_service.demo.benchmark import benchmark
from moderation_service.demo.broker import DEMO_TOPICS, embedded_broker
from moderation_service.kafka.topic_io import Record, post_record, publish
from moderation_service.policies.pack import load_pack
from moderation_service.settings import (
    AuditSettings,
    BankSettings,
    BareSettings,
    ConsoleSettings,
    JudgingSettings,
    KafkaSettings,
    Settings,
)
from moderation_service.settings.audit import Stratum
from moderation_service.stream.processor import RecordProcessor
from moderation_service.stream.worker import Worker
from moderation_service.telemetry import audit
from moderation_service.telemetry.health import Health

USER = "demo"
_SHARE = 0.02  # of the benchmark, in a round of generated posts
_SCOPES = ("judge", "read", "review")
_AUDITS: dict[Stratum, float] = {  # so many that some are seen within minutes
    "allow_low": 0.05,
    "allow_middle": 0.2,
    "allow_near": 0.5,
    "abstain": 0.2,
    "review": 0.2,
    "block": 0.2,
}


async def serve(port: int, every_s: float, show: Callable[[str], None]) -> None:
    """Broker, worker and console until SIGTERM or SIGINT, a post every `every_s` seconds; `show` gets lines to read.

    The database is in a folder that is removed at the end.
    """
    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="moderation-"))
        address = stack.enter_context(embedded_broker(DEMO_TOPICS.values()))
        kafka = {"bootstrap_servers": address, "group": "moderation.demo", **DEMO_TOPICS}
        settings = BareSettings(
            kafka=KafkaSettings.model_validate({**kafka, "delivery": "at_least_once"}),  # it knows no transactions
            console=ConsoleSettings(
                host="127.0.0.1",
                port=port,
                ops_port=0,
                database_url=SecretStr(f"sqlite:///{Path(folder) / 'console.db'}"),
                judging_backend="local",
                secure_cookies=False,
            ),
            banks=BankSettings(path=samples.BANKS),
            media=samples.media_settings(),
            judging=JudgingSettings(attribution="always"),
            audit=AuditSettings(rates=_AUDITS),
        )
        await run_until(stop, _serve(settings, every_s, show))


async def _serve(settings: Settings, every_s: float, show: Callable[[str], None]) -> None:
    pack = load_pack(settings.policies.path, images=False)
    show("Loading the model; this takes some seconds.")
    async with (
        own_database(settings) as database,
        open_judge(settings, pack) as judge,
        keep_banks(settings.kafka, judge.banks, follow_s=settings.engine.startup_timeout_s),
    ):
        context = ConsoleContext(settings, database, pack, judge, banks=judge.banks)
        logins = await _logins(database, settings.kafka)
        async with running_console(context) as (port, ops_port), asyncio.TaskGroup() as group:
            show(f"Console:  http://127.0.0.1:{port}/")
            show(f"Metrics:  http://127.0.0.1:{ops_port}/metrics")
            for line in logins:
                show(line)
            show("Ctrl-C stops it, and removes what it has.")
            worker = Worker(settings.kafka, RecordProcessor(settings.kafka, judge), Health())
            group.create_task(worker.run(asyncio.Event()))
            group.create_task(publish(settings.kafka, _posts(settings.kafka, every_s)))


async def _logins(database: AsyncEngine, kafka: KafkaSettings) -> tuple[str, ...]:
    """An admin and an API key; lines that show them."""
    password = secrets.token_urlsafe(9)
    await users.add(database, kafka, USER, password, role="admin", actor=audit.user())
    key = await api_keys.create(database, kafka, "demo", _SCOPES, actor=audit.user())
    return f"User:     {USER}", f"Password: {password}", f"API key:  {key}"


async def _posts(kafka: KafkaSettings, every_s: float) -> AsyncIterator[Record]:
    """The samples at once, then generated posts, one every `every_s` seconds."""
    run, seed = secrets.token_hex(3), secrets.randbelow(2**31)
    for post in samples.posts(f"demo-{run}"):
        yield post_record(kafka, post)
    while True:
        for post in await asyncio.to_thread(_drawn, seed):
            await asyncio.sleep(every_s)
            yield post_record(kafka, post.model_copy(update={"post_id": f"demo-{run}-{secrets.token_hex(3)}"}))
        seed += 1


def _drawn(seed: int) -> list[Post]:
    posts = [labelled.post for labelled in benchmark(seed, _SHARE)]
    secrets.SystemRandom().shuffle(posts)
    return posts
