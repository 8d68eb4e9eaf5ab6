"""`moderation demo`: sample posts through the whole service, on an embedded broker by default."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from moderation_service.app import demo_server
from moderation_service.app.compose import open_judge
from moderation_service.cli.common import Servers, exit_after, progress, show, writable
from moderation_service.contracts.verdict import Verdict
from moderation_service.demo import samples
from moderation_service.demo.broker import DEMO_TOPICS, embedded_broker
from moderation_service.demo.report import Report, ReportRow
from moderation_service.errors import Fatal
from moderation_service.judging.judge import Judge
from moderation_service.kafka.topic_io import post_record, publish, read
from moderation_service.kafka.topics import create as create_topics
from moderation_service.policies.pack import load_pack
from moderation_service.settings import (
    BankSettings,
    BareSettings,
    JudgingSettings,
    KafkaSettings,
    Settings,
    load_settings,
)
from moderation_service.stream.processor import RecordProcessor
from moderation_service.stream.worker import Worker
from moderation_service.telemetry.health import Health

_TIMEOUT_S = 120.0
_SECURITY = {name for name in KafkaSettings.model_fields if name.startswith(("security_", "sasl_", "ssl_"))}


def demo(
    *,
    bootstrap_servers: Servers = None,
    report: Annotated[Path, Parameter(help="Where the report is written.")] = Path("demo-report.html"),
    serve: Annotated[bool, Parameter(help="Stay up, with the console.")] = False,
    port: Annotated[int, Parameter(help="Of the console.")] = 8080,
    every: Annotated[float, Parameter(help="Seconds between posts, with --serve.")] = 3.0,
) -> int:
    """Publish sample posts, judge them with the bundled model, print the verdicts, write a report.

    Without an address the broker is an embedded one (at least once); with one, a real Kafka (exactly once).
    With `--serve` it stays up with the reviewers' console on `--port`, and a post comes in every few seconds.

    Example: `moderation demo`
    """
    if serve:
        asyncio.run(exit_after(demo_server.serve(port, every, partial(print, flush=True))))
    report = writable(report, "--report")
    made = asyncio.run(run_demo(bootstrap_servers))
    report.write_text(made.page(), encoding="utf-8")
    show(made.table(), made.how, f"Report: {report}")
    return 0


async def run_demo(bootstrap_servers: str | None) -> Report:
    """Sample posts through the whole service, on an embedded broker if no address is given.

    Settings from the environment are ignored, except the security of a given broker.
    """
    with nullcontext(bootstrap_servers) if bootstrap_servers else embedded_broker(DEMO_TOPICS.values()) as address:
        kafka = {"bootstrap_servers": address, "group": "moderation.demo", **DEMO_TOPICS}
        if bootstrap_servers:
            kafka |= load_settings().kafka.model_dump(include=_SECURITY)
        else:  # librdkafka's mock cluster knows no transactions
            kafka["delivery"] = "at_least_once"
        settings = BareSettings(
            kafka=KafkaSettings(**kafka),
            banks=BankSettings(path=samples.BANKS),
            media=samples.media_settings(),
            judging=JudgingSettings(attribution="always"),
        )
        if bootstrap_servers:
            await create_topics(settings.kafka)
        posts = list(samples.posts(f"demo-{secrets.token_hex(4)}"))
        await publish(settings.kafka, (post_record(settings.kafka, post) for post in posts))
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
    titles = {policy.id: policy.title.in_language("en") for policy in pack.policies}
    return Report([ReportRow(post, verdicts[post.post_id]) for post in posts], titles, how)


async def _judged(
    settings: Settings, judge: Judge, wanted: set[str], advance: Callable[[object], None]
) -> dict[str, Verdict]:
    """Run the worker until every wanted post has its verdict. Raises Fatal if it does not come in time."""
    stop, verdicts = asyncio.Event(), dict[str, Verdict]()

    async def collect() -> None:
        async for record in read(settings.kafka, settings.kafka.output_topic, follow=True):
            verdict = Verdict.model_validate_json(record.value)
            if verdict.post_id in wanted - verdicts.keys():
                verdicts[verdict.post_id] = verdict
                advance(verdict)
            if len(verdicts) == len(wanted):
                return

    worker = asyncio.create_task(Worker(settings.kafka, RecordProcessor(settings.kafka, judge), Health()).run(stop))
    collecting = asyncio.create_task(collect())
    await asyncio.wait({worker, collecting}, timeout=_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
    collecting.cancel()
    stop.set()
    await asyncio.wait({worker, collecting})
    for task in (worker, collecting):
        if not task.cancelled():
            task.result()
    if len(verdicts) < len(wanted):
        msg = f"{len(verdicts)} of {len(wanted)} posts have their verdict after {_TIMEOUT_S:g} s"
        raise Fatal(msg)
    return verdicts
