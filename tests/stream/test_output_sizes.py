"""Outputs that are refused for their size, on a publisher that does as it is told."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from moderation_service.settings import KafkaSettings
from moderation_service.stream.partition_processor import PartitionProcessor
from moderation_service.stream.processing_result import Output
from moderation_service.stream.publisher import OutputTooLarge
from moderation_service.stream.resume_offset import ResumeOffset
from tests.stream.records import result
from tests.stream.support import Resumes, eventually, open_processor, processor_of, serve

LARGE = b"large"
SMALL = Output("dlq", b"small", b"", [])


class Slow:
    """Refuses LARGE, and says which when each send is awaited; then more than `at_most` outputs take too long."""

    def __init__(self, at_most: int) -> None:
        self.at_most = at_most
        self.published: list[bytes | None] = []
        self.committed = 0
        self.calls: list[tuple[int, bool]] = []

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    async def publish(
        self, outputs: Sequence[Output], next_offset: int, *, metadata: str = "", await_each_send: bool = False
    ) -> None:
        if outputs:
            self.calls.append((len(outputs), await_each_send))
        if await_each_send and len(outputs) > self.at_most:
            raise TimeoutError
        for index, output in enumerate(outputs):
            if output.value == LARGE:
                raise OutputTooLarge(index if await_each_send else None)
        self.published += [output.key for output in outputs]
        self.committed = next_offset


@asynccontextmanager
async def opened(publisher: Slow) -> AsyncIterator[PartitionProcessor]:
    processor = processor_of(KafkaSettings(), publisher, Resumes(lambda: ResumeOffset(publisher.committed)))
    async with open_processor(processor):
        yield processor


def fill(
    processor: PartitionProcessor,
    offsets: range,
    large: int | None = None,
    fallbacks: Iterable[Output] = (),
) -> None:
    """Finished posts, one of them large."""
    for offset in offsets:
        processor.tracker.take(offset, 10)
    for offset in offsets:
        output = Output("verdicts", b"%d" % offset, LARGE if offset == large else b"{}", [])
        processor.finish(offset, result(output, fallbacks=fallbacks if offset == large else ()))


@pytest.mark.parametrize("at_most", [1, 3, 500])
async def test_a_slow_broker_and_an_output_too_large_hold_nothing(at_most: int) -> None:
    publisher = Slow(at_most)
    async with opened(publisher) as processor:
        fill(processor, range(500), large=250, fallbacks=[SMALL])
        await eventually(lambda: processor.delivery.committed == 500, "all is published", 10)
        assert not processor.delivery.blocked
        names = [b"%d" % number for number in range(500)]
        names[250] = b"small"
        assert publisher.published == names
        fill(processor, range(500, 600))
        await eventually(lambda: processor.delivery.committed == 600, "and what comes later")
    assert publisher.calls[0] == (500, False)
    assert publisher.calls[-1] == (100, False), "what comes later goes together again"
    assert max(outputs for outputs, awaited in publisher.calls if awaited) <= 16


async def test_the_form_that_gets_smaller_is_that_of_the_output_that_was_refused() -> None:
    publisher = Slow(500)
    async with opened(publisher) as processor:
        processor.tracker.take(0, 10)
        null = Output("verdicts", b"gone", None, [])
        processor.finish(0, result(null, replace(null, topic="dlq"), outcome="deleted"))
        fill(processor, range(1, 4), large=2, fallbacks=[SMALL])
        await eventually(lambda: processor.delivery.committed == 4, "all is published")
    assert publisher.published == [b"gone", b"gone", b"1", b"small", b"3"]


async def test_an_output_too_large_in_every_form_holds_the_partition_and_says_so() -> None:
    publisher = Slow(500)
    async with opened(publisher) as processor:
        fill(processor, range(3), large=1)
        await eventually(lambda: processor.delivery.blocked, "the processor is held")
        tries = len(publisher.calls)
        await eventually(lambda: len(publisher.calls) > tries + 3, "it is tried again")
        assert processor.delivery.blocked
        assert processor.delivery.committed == 0


async def test_forms_get_smaller_until_one_passes() -> None:
    publisher = Slow(500)
    large, least = Output("dlq", b"1", LARGE, []), Output("dlq", b"least", b"", [])
    async with opened(publisher) as processor:
        fill(processor, range(3), large=1, fallbacks=[large, least])
        await eventually(lambda: processor.delivery.committed == 3, "all is published")
    assert publisher.published == [b"0", b"least", b"2"]


async def test_a_loss_is_counted_once_though_its_first_note_has_an_unknown_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publisher = Slow(500)
    starts = [
        ResumeOffset(50, is_committed=False, loss_marker="lost below 50", lost=10),
        ResumeOffset(50, loss_marker="lost below 50"),
    ]
    through = publisher.publish

    async def unknown(*arguments: object, **named: object) -> None:
        monkeypatch.setattr(publisher, "publish", through)
        raise TimeoutError

    monkeypatch.setattr(publisher, "publish", unknown)
    processor = processor_of(KafkaSettings(), publisher, Resumes(lambda: starts.pop(0)))
    before = REGISTRY.get_sample_value("moderation_lost_records_total") or 0.0
    task = asyncio.create_task(serve(processor))
    await eventually(lambda: processor.is_open, "the processor is open")
    task.cancel()
    await asyncio.wait({task})
    assert REGISTRY.get_sample_value("moderation_lost_records_total") == before + 10
    assert processor.delivery.loss_marker == "lost below 50"
