"""What the worker says of the partitions that the group gives it."""

from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from structlog.testing import capture_logs

from moderation_service.settings import KafkaSettings
from moderation_service.stream.membership import TESTED_PARTITIONS, Membership
from moderation_service.telemetry.health import Health


@pytest.mark.parametrize(("more", "warnings"), [(0, 0), (1, 1)])
async def test_more_partitions_than_were_tested_are_said_with_what_to_do(more: int, warnings: int) -> None:
    opened: list[TopicPartition] = []
    membership = Membership(KafkaSettings(), SimpleNamespace(open=opened.extend), Health())  # type: ignore[arg-type]
    with capture_logs() as said:
        await membership.on_partitions_assigned(TopicPartition("t", n) for n in range(TESTED_PARTITIONS + more))
    assert len(opened) == TESTED_PARTITIONS + more
    told = [line["event"] for line in said if line["log_level"] == "warning"]
    assert len(told) == warnings
    assert all(f"at most {TESTED_PARTITIONS} were tested: add workers" in line for line in told)
