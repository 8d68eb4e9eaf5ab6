import pytest

from moderation_service.demo.broker import embedded_broker
from tests.stream.support import FakeJudge, kafka_settings, post_record, published, running, send

pytestmark = pytest.mark.timeout(60)


async def test_the_worker_runs_on_the_embedded_broker(unique: str) -> None:
    with embedded_broker() as address:
        settings = kafka_settings(address, unique, delivery="at_least_once")
        await send(settings, [post_record(settings.input_topic, f"p{number}") for number in range(30)])
        async with running(settings, FakeJudge()) as work:
            seen = await published(settings, 30)
            assert work.health.joined
    assert seen.judged == sorted(f"p{number}" for number in range(30))
