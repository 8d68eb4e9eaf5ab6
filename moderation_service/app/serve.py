"""`moderation demo --serve`: an embedded broker, the worker and the console in one process, with posts trickling in."""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.app.compose import open_judge
from moderation_service.app.console import judge_by, run_parts, until
from moderation_service.app.demo import demo_topics
from moderation_service.app.files import record_of
from moderation_service.app.signals import stop_on_signals
from moderation_service.console.accounts import users
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import keys
from moderation_service.console.store.database import own_database
from moderation_service.contracts.post import Post
from moderation_service.demo import samples
from moderation_service.demo.benchmark import benchmark
from moderation_service.demo.broker import embedded_broker
from moderation_service.kafka.topic_io import Record, publish
from moderation_service.policies.pack import load_pack
from moderation_service.settings import BareSettings, ConsoleSettings, JudgingSettings, KafkaSettings, Settings
from moderation_service.stream.worker import Worker
from moderation_service.telemetry import audit
from moderation_service.telemetry.health import Health

USER = "demo"
_SOME = 0.02  # of the benchmark, in a round of the trickle
_SCOPES = ("judge", "read", "review")


async def serve(port: int, every_s: float, tell: Callable[[str], None]) -> None:
    """Everything together until SIGTERM or SIGINT, a post every `every_s` seconds; `tell` is given lines to read.

    Nothing of it is left: the database is in a folder that goes with the process.
    """
    topics = demo_topics()
    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="moderation-"))
        address = stack.enter_context(embedded_broker(topics.values()))
        named = {"bootstrap_servers": address, "group": "moderation.demo", **topics}
        kafka = KafkaSettings.model_validate({**named, "delivery": "at_least_once"})  # the broker knows no transactions
        url = f"sqlite:///{Path(folder) / 'console.db'}"
        console = ConsoleSettings.model_validate(
            {
                "host": "127.0.0.1",
                "port": port,
                "ops_port": 0,
                "database_url": url,
                "judging_backend": "local",
                "secure_cookies": False,
            }
        )
        settings = BareSettings(kafka=kafka, console=console, judging=JudgingSettings(attribution="always"))
        await until(stop, _serve(settings, every_s, tell))


async def _serve(settings: Settings, every_s: float, tell: Callable[[str], None]) -> None:
    pack = load_pack(settings.policies.path, images=False)
    tell("Loading the model; this takes some seconds.")
    async with (
        own_database(settings) as database,
        open_judge(settings, pack) as judge,
    ):
        parts = ConsoleContext(settings, database, lambda: pack)
        judge_by(parts, judge)
        said = await _people(database, settings.kafka)

        async def work() -> None:
            await Worker(settings.kafka, judge, Health()).run(asyncio.Event())

        async def trickle() -> None:
            await publish(settings.kafka, _posts(settings.kafka, every_s))

        def opened(port: int, ops_port: int) -> None:
            addresses = (f"Console:  http://127.0.0.1:{port}/", f"Metrics:  http://127.0.0.1:{ops_port}/metrics")
            for line in (*addresses, *said):
                tell(line)

        await run_parts(parts, work, trickle, opened=opened)


async def _people(database: AsyncEngine, kafka: KafkaSettings) -> tuple[str, ...]:
    """One who may review and administer, and a key; what to say of them."""
    password = secrets.token_urlsafe(9)
    await users.add(database, kafka, USER, password, role="admin", actor=audit.user())
    key = await keys.create(database, kafka, "demo", _SCOPES, actor=audit.user())
    return f"User:     {USER}", f"Password: {password}", f"API key:  {key}"


async def _posts(kafka: KafkaSettings, every_s: float) -> AsyncIterator[Record]:
    """The samples at once, and then for ever others, one at a time."""
    run, seed = secrets.token_hex(3), secrets.randbelow(2**31)
    for post in samples.posts(f"demo-{run}"):
        yield record_of(kafka, post)
    while True:
        for post in await asyncio.to_thread(_drawn, seed):
            await asyncio.sleep(every_s)
            yield record_of(kafka, post.model_copy(update={"post_id": f"demo-{run}-{secrets.token_hex(3)}"}))
        seed += 1


def _drawn(seed: int) -> list[Post]:
    posts = [labelled.post for labelled in benchmark(seed, _SOME)]
    secrets.SystemRandom().shuffle(posts)
    return posts
