# ruff: noqa: INP001 - a script, and no package
"""Webhook sink: posts each blocked verdict to a URL, at least once. Its offsets are in Kafka, as those of its group.

MODERATION_KAFKA__BOOTSTRAP_SERVERS=kafka:9092 python webhook_sink.py https://example.org/blocked
"""

import asyncio
import sys

import aiohttp
import structlog

from moderation_service.backoff import Backoff
from moderation_service.contracts.enums import Decision
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import ModerationError
from moderation_service.kafka.topic_consumer import TopicConsumer
from moderation_service.settings import KafkaSettings, load_settings

GROUP = "webhook-sink"
BACKOFF = Backoff(first_s=0.5, longest_s=60.0)
log = structlog.get_logger(__name__)


async def post(session: aiohttp.ClientSession, url: str, verdict: Verdict) -> None:
    """Post until the receiver answers 2xx: an outage delays verdicts and drops none."""
    failures = 0
    while True:
        try:
            key = {"Idempotency-Key": verdict.verdict_id}  # by which the receiver knows a repetition
            async with session.post(url, data=verdict.to_json(), headers=key) as answer:
                answer.raise_for_status()
                return
        except (aiohttp.ClientError, TimeoutError) as error:
            failures += 1
            log.warning("the receiver does not answer", error=str(error), verdict_id=verdict.verdict_id)
            await BACKOFF.wait(failures)


async def run(settings: KafkaSettings, url: str) -> None:
    """Post what is blocked, then commit, for ever. Raises ModerationError where Kafka goes away."""
    async with (
        aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session,
        TopicConsumer.open(settings, [settings.output_topic], group=GROUP) as consumer,
    ):
        async for batch in consumer.batches(at_most=50):
            for record in batch.records:
                if record.value is not None:  # null: the post was deleted
                    verdict = Verdict.model_validate_json(record.value)
                    if verdict.decision is Decision.BLOCK:
                        await post(session, url, verdict)
            await consumer.commit(batch.offsets)


if __name__ == "__main__":
    try:
        asyncio.run(run(load_settings().kafka, sys.argv[1]))
    except ModerationError as error:
        sys.exit(str(error))  # and be started again
