"""`moderation demo`: sample posts through the whole service."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import nullcontext

from moderation_service.app.compose import open_judge
from moderation_service.app.files import record_of
from moderation_service.app.progress import progress
from moderation_service.contracts.verdict import Verdict
from moderation_service.demo import samples
from moderation_service.demo.broker import embedded_broker
from moderation_service.demo.report import Report, ReportRow
from moderation_service.errors import Fatal
from moderation_service.judging.judge import Judge
from moderation_service.kafka.topic_io import publish, read
from moderation_service.kafka.topics import create as create_topics
from moderation_service.policies.pack import load_pack
from moderation_service.settings import BareSettings, JudgingSettings, KafkaSettings, Settings, load_settings
from moderation_service.stream.worker import Worker
from moderation_service.telemetry.health import Health

PATIENCE_S = 120.0
TOPICS = ("input", "output", "dead_letter", "review", "audit")
SECURITY = {name for name in KafkaSettings.model_fields if name.startswith(("security_", "sasl_", "ssl_"))}


def demo_topics() -> dict[str, str]:
    """The demo's own topics, by setting."""
    return {f"{kind}_topic": f"moderation.demo.{kind}" for kind in TOPICS}


async def demo(bootstrap_servers: str | None) -> Report:
    """Sample posts through the whole service, on an embedded broker where no address is given.

    What the environment sets is for the service, and left out here but for the security of a broker that is given.
    """
    topics = demo_topics()
    with nullcontext(bootstrap_servers) if bootstrap_servers else embedded_broker(topics.values()) as address:
        kafka = {"bootstrap_servers": address, "group": "moderation.demo", **topics}
        if bootstrap_servers:
            kafka |= load_settings().kafka.model_dump(include=SECURITY)
        else:  # librdkafka's mock cluster knows no transactions
            kafka["delivery"] = "at_least_once"
        settings = BareSettings(kafka=KafkaSettings(**kafka), judging=JudgingSettings(attribution="always"))
        if bootstrap_servers:
            await create_topics(settings.kafka)
        posts = list(samples.posts(f"demo-{secrets.token_hex(4)}"))
        await publish(settings.kafka, (record_of(settings.kafka, post) for post in posts))
        pack = load_pack(settings.policies.path, images=False)
        with progress(len(posts)) as advance:
            async with open_judge(settings, pack) as judge:
                verdicts = await _judged(settings, judge, {post.post_id for post in posts}, advance)
    model = next(iter(verdicts.values())).model
    how = (
        f"By {model.name} ({model.revision[:19]}), a demonstration on synthetic posts and no moderation model, "
        f"through {'Kafka at ' + bootstrap_servers if bootstrap_servers else 'an embedded broker'}, "
        f"{settings.kafka.delivery.replace('_', ' ')}."
    )
    titles = {policy.id: policy.title.en for policy in pack.policies}
    return Report([ReportRow(post, verdicts[post.post_id]) for post in posts], titles, how)


async def _judged(
    settings: Settings, judge: Judge, wanted: set[str], advance: Callable[[object], None]
) -> dict[str, Verdict]:
    """Run the worker until every wanted post has its verdict. Raises Fatal where it does not come."""
    stop, verdicts = asyncio.Event(), dict[str, Verdict]()

    async def collect() -> None:
        async for record in read(settings.kafka, settings.kafka.output_topic, follow=True):
            verdict = Verdict.model_validate_json(record.value)
            if verdict.post_id in wanted - verdicts.keys():
                verdicts[verdict.post_id] = verdict
                advance(verdict)
            if len(verdicts) == len(wanted):
                return

    worker = asyncio.create_task(Worker(settings.kafka, judge, Health()).run(stop))
    collecting = asyncio.create_task(collect())
    await asyncio.wait({worker, collecting}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
    collecting.cancel()
    stop.set()
    await asyncio.wait({worker, collecting})
    for task in (worker, collecting):
        if not task.cancelled():
            task.result()
    if len(verdicts) < len(wanted):
        msg = f"{len(verdicts)} of {len(wanted)} posts had their verdict within {PATIENCE_S:g} s"
        raise Fatal(msg)
    return verdicts
