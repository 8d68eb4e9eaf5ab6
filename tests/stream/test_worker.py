"""The worker against a real Kafka."""

import pytest
from tests.stream.support import FakeJudge, kafka_settings, make_topics, post_record, published, running, send

pytestmark = pytest.mark.timeout(120)


async def test_every_post_becomes_one_verdict(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique)
    await make_topics(settings)
    await send(settings, [post_record(settings.input_topic, f"p{number}") for number in range(500)])
    async with running(settings, FakeJudge()):
        seen = await published(settings, 500)
    assert seen.judged == sorted(f"p{number}" for number in range(500))
    assert not seen.dead
