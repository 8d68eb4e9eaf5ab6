"""Outputs that are refused for their size, on a publisher that does as it is told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiokafka import TopicPartition
from prometheus_client import REGISTRY

from moderation_service.settings import KafkaSettings
from moderation_service.stream import partition_processor as module
from moderation_service.stream.partition_processor import PartitionProcessor
from moderation_service.stream.processing_result import Output, ProcessingResult
from moderation_service.stream.publisher import TooLarge
from moderation_service.stream.resume_offset import ResumeOffset
from tests.stream.support import eventually, open_processor

PARTITION = TopicPartition("posts", 0)
LARGE = b"large"


class Slow:
    """Refuses LARGE, without saying which but singly; singly, more than `singly_at_most` outputs take too long."""

    def __init__(self, singly_at_most: int) -> None:
        self.singly_at_most = singly_at_most
        self.published: list[bytes | None] = []
        self.committed = 0
        self.calls: list[tuple[int, bool]] = []

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    async def publish(
        self, outputs: Sequence[Output], next_offset: int, *, note: str = "", singly: bool = False
    ) -> None:
        if outputs:
            self.calls.append((len(outputs), singly))
        if singly and len(outputs) > self.singly_at_most:
            raise TimeoutError
        for index, output in enumerate(outputs):
            if output.value == LARGE:
                raise TooLarge(index if singly else None)
        self.published += [output.key for output in outputs]
        self.committed = next_offset


@asynccontextmanager
async def opened(publisher: Slow) -> AsyncIterator[PartitionProcessor]:
    async def start(_: PartitionProcessor) -> ResumeOffset:
        return ResumeOffset(publisher.committed)

    processor = PartitionProcessor(PARTITION, KafkaSettings(), publisher, start, lambda *_: None)
    async with open_processor(processor):
        yield processor


def fill(
    processor: PartitionProcessor,
    offsets: range,
    large: int | None = None,
    smaller: Callable[[], ProcessingResult] | None = None,
) -> None:
    """Finished posts, one of them large."""
    for offset in offsets:
        processor.tracker.take(offset, 10)
    for offset in offsets:
        output = Output("verdicts", b"%d" % offset, LARGE if offset == large else b"{}", [])
        processor.finish(offset, ProcessingResult(output, "verdict", smaller=smaller if offset == large else None))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "_LONGEST_PAUSE_S", 0.01)


@pytest.mark.parametrize("singly_at_most", [1, 3, 500])
async def test_a_slow_broker_and_an_output_too_large_hold_nothing(singly_at_most: int) -> None:
    publisher = Slow(singly_at_most)
    small = ProcessingResult(Output("dlq", b"small", b"", []), "dead_letter")
    async with opened(publisher) as processor:
        fill(processor, range(500), large=250, smaller=lambda: small)
        await eventually(lambda: processor.committed == 500, "all is published", 10)
        assert not processor.held
        names = [b"%d" % number for number in range(500)]
        names[250] = b"small"
        assert publisher.published == names
        fill(processor, range(500, 600))
        await eventually(lambda: processor.committed == 600, "and what comes later")
    assert publisher.calls[0] == (500, False)
    assert publisher.calls[-1] == (100, False), "what comes later goes together again"
    assert max(outputs for outputs, singly in publisher.calls if singly) <= 16


async def test_the_form_that_gets_smaller_is_that_of_the_output_that_was_refused() -> None:
    publisher = Slow(500)
    small = ProcessingResult(Output("dlq", b"small", b"", []), "dead_letter")
    async with opened(publisher) as processor:
        processor.tracker.take(0, 10)
        null = Output("verdicts", b"gone", None, [])
        processor.finish(0, ProcessingResult(null, "deleted", also=(replace(null, topic="dlq"),)))
        fill(processor, range(1, 4), large=2, smaller=lambda: small)
        await eventually(lambda: processor.committed == 4, "all is published")
    assert publisher.published == [b"gone", b"gone", b"1", b"small", b"3"]


async def test_an_output_too_large_in_every_form_holds_the_lane_and_says_so() -> None:
    publisher = Slow(500)
    async with opened(publisher) as processor:
        fill(processor, range(3), large=1)
        await eventually(lambda: processor.held, "the processor is held")
        tries = len(publisher.calls)
        await eventually(lambda: len(publisher.calls) > tries + 3, "it is tried again")
        assert processor.held
        assert processor.committed == 0


async def test_forms_get_smaller_until_one_passes() -> None:
    publisher = Slow(500)
    least = ProcessingResult(Output("dlq", b"least", b"", []), "dead_letter")
    large = ProcessingResult(Output("dlq", b"1", LARGE, []), "dead_letter", smaller=lambda: least)
    async with opened(publisher) as processor:
        fill(processor, range(3), large=1, smaller=lambda: replace(large))
        await eventually(lambda: processor.committed == 3, "all is published")
    assert publisher.published == [b"0", b"least", b"2"]


async def test_a_loss_is_counted_once_though_its_first_note_has_an_unknown_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publisher = Slow(500)
    starts = [ResumeOffset(50, pinned=False, note="lost below 50", lost=10), ResumeOffset(50, note="lost below 50")]
    through = publisher.publish

    async def unknown(*arguments: object, **named: object) -> None:
        monkeypatch.setattr(publisher, "publish", through)
        raise TimeoutError

    async def start(_: PartitionProcessor) -> ResumeOffset:
        return starts.pop(0)

    monkeypatch.setattr(publisher, "publish", unknown)
    processor = PartitionProcessor(PARTITION, KafkaSettings(), publisher, start, lambda *_: None)
    before = REGISTRY.get_sample_value("moderation_lost_records_total") or 0.0
    task = asyncio.create_task(processor.run(lambda _: None))
    await eventually(lambda: processor.is_open, "the processor is open")
    task.cancel()
    await asyncio.wait({task})
    assert REGISTRY.get_sample_value("moderation_lost_records_total") == before + 10
    assert processor.note == "lost below 50"
