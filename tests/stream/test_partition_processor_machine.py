"""Stateful test: owners come and go, commits fail in every way, and each record is published once, in order."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from moderation_service.settings import KafkaSettings
from moderation_service.stream.processing_result import Output
from moderation_service.stream.publisher import ProducerFenced
from moderation_service.stream.resume_offset import ResumeOffset
from tests.stream.records import result
from tests.stream.support import Resumes, processor_of, serve

FAULTS = ["cut off", "went through, unknown", "start fails"]


class Broker:
    """What the model remembers: outputs, the committed offset, who started last, and what is to go wrong next."""

    def __init__(self) -> None:
        self.published: list[int] = []
        self.committed = 0
        self.epoch = 0
        self.faults: list[str] = []

    def fault(self, *which: str) -> str | None:
        return self.faults.pop(0) if self.faults and self.faults[0] in which else None


class Transactions:
    """A publisher on the model: a transaction is wholly there or not at all, and an older owner is fenced."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.epoch = -1

    async def start(self) -> None:
        if self.broker.fault("start fails"):
            raise ConnectionError
        self.broker.epoch += 1
        self.epoch = self.broker.epoch

    async def publish(
        self, outputs: Sequence[Output], next_offset: int, *, metadata: str = "", await_each_send: bool = False
    ) -> None:
        await asyncio.sleep(0)
        if self.epoch != self.broker.epoch:
            raise ProducerFenced
        fault = self.broker.fault("cut off", "went through, unknown")
        if fault == "cut off":
            raise ConnectionError
        self.broker.published += [int(output.key or b"") for output in outputs]
        self.broker.committed = next_offset
        if fault is not None:
            raise TimeoutError

    async def close(self) -> None:
        return


class Owner:
    """A processor at work, and what it has of the log."""

    def __init__(self, broker: Broker) -> None:
        self.in_flight: list[int] = []
        self.next: int | None = None
        finder = Resumes(lambda: ResumeOffset(broker.committed))
        kafka = KafkaSettings(max_batch_posts=3, linger_ms=0)
        self.processor = processor_of(kafka, Transactions(broker), finder, first_s=0.0)
        self.task = asyncio.get_event_loop().create_task(serve(self.processor))

    def take(self, log: Sequence[int]) -> None:
        if self.processor.is_open:
            if self.next is None:
                self.next = self.processor.position
            for offset in log:
                if offset >= self.next:
                    self.processor.tracker.take(offset, 1)
                    self.in_flight.append(offset)
                    self.next = offset + 1

    def finish(self, offset: int) -> None:
        self.in_flight.remove(offset)
        self.processor.finish(offset, result(Output("verdicts", b"%d" % offset, b"", [])))


class ProcessorsAgainstAModel(RuleBasedStateMachine):
    """The model: a log with gaps, of which every offset is to be published once."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.log: list[int] = []
        self.end = 0
        self.broker = Broker()
        self.owners: list[Owner] = []
        self.committed = 0

    @rule()
    def somebody_takes_over(self) -> None:
        """The owner before still works, and does not know."""
        self.owners.append(Owner(self.broker))
        self.turn()

    @rule(gap=st.integers(1, 4))
    def a_record_comes(self, gap: int) -> None:
        self.log.append(self.end + gap - 1)
        self.end += gap
        self.turn()

    @rule(which=st.sampled_from(FAULTS))
    def something_is_to_go_wrong(self, which: str) -> None:
        self.broker.faults.append(which)

    @precondition(lambda self: any(owner.in_flight for owner in self.owners))
    @rule(data=st.data())
    def a_post_is_finished(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from([owner for owner in self.owners if owner.in_flight]))
        owner.finish(data.draw(st.sampled_from(owner.in_flight)))
        self.turn()

    @precondition(lambda self: bool(self.owners))
    @rule(past=st.integers(1, 3))
    def markers_lie_behind_the_last_record(self, past: int) -> None:
        """As the manager does: only where nothing is left to take."""
        owner = self.owners[-1]
        self.end += past
        if owner.processor.is_open and not owner.processor.tracker.posts:
            owner.processor.commit_idle_position(self.end)
        self.turn()

    @precondition(lambda self: bool(self.owners))
    @rule(index=st.integers(0, 10))
    def somebody_dies(self, index: int) -> None:
        owner = self.owners.pop(index % len(self.owners))
        owner.task.cancel()
        self.turn()

    def turn(self) -> None:
        """Let all who can go on do so."""
        for _ in range(12):
            self.loop.run_until_complete(asyncio.sleep(0))
        for owner in list(self.owners):
            if owner.task.done():
                assert isinstance(owner.task.exception(), ProducerFenced)
                self.owners.remove(owner)
            else:
                owner.take(self.log)

    @invariant()
    def each_is_published_once_in_order(self) -> None:
        assert self.broker.published == self.log[: len(self.broker.published)]

    @invariant()
    def the_committed_offset_says_what_is_published_and_never_goes_back(self) -> None:
        assert self.broker.committed >= self.committed
        self.committed = self.broker.committed
        assert [offset for offset in self.log if offset < self.committed] == self.broker.published

    def teardown(self) -> None:
        """Nothing goes wrong any more: one owner publishes all that is left."""
        self.broker.faults.clear()
        self.somebody_takes_over()
        last = self.owners[-1]
        for _ in range(200):
            self.turn()
            for offset in list(last.in_flight):
                last.finish(offset)
            if self.broker.published == self.log:
                break
        published, tasks = self.broker.published, [owner.task for owner in self.owners]
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, ProducerFenced):
                self.loop.run_until_complete(task)
        self.loop.close()
        assert published == self.log


TestProcessorsAgainstAModel = ProcessorsAgainstAModel.TestCase
TestProcessorsAgainstAModel.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
