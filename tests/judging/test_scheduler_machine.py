"""The batcher's scheduler against a model: who asks has their own answer, or the error that is theirs; nobody waits for
nothing."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from moderation_service.errors import Transient
from moderation_service.judging.scheduler import CallLimits, Scheduler

Call = tuple[Sequence["Request"], "asyncio.Future[None]"]


@dataclass(frozen=True)
class Request:
    """`bad` breaks every call that it is in."""

    number: int
    tokens: int
    bad: bool


class SchedulerAgainstAModel(RuleBasedStateMachine):
    """The model: a set of requests, each with the one outcome that it may have."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.calls: list[Call] = []
        self.asked: dict[Request, asyncio.Task[int]] = {}
        self.given_up: set[Request] = set()
        self.seen: set[Request] = set()

    @initialize(calls=st.integers(1, 3), requests=st.integers(1, 5), tokens=st.integers(10, 60))
    def begin(self, calls: int, requests: int, tokens: int) -> None:
        self.bounds = CallLimits(calls, requests, tokens)
        self.scheduler = Scheduler(self.call, lambda request: request.tokens, self.bounds)

    async def call(self, requests: Sequence[Request]) -> list[int]:
        done: asyncio.Future[None] = self.loop.create_future()
        self.calls.append((requests, done))
        assert self.given_up.isdisjoint(requests) or self.seen.issuperset(self.given_up.intersection(requests))
        self.seen.update(requests)
        await done
        if any(request.bad for request in requests):
            raise Transient("server_error", "it breaks")
        return [request.number for request in requests]

    @rule(tokens=st.integers(1, 70), bad=st.sampled_from([False, False, False, True]))
    def ask(self, tokens: int, bad: bool) -> None:  # noqa: FBT001 - drawn
        request = Request(len(self.asked), tokens, bad)
        self.asked[request] = self.loop.create_task(self.scheduler.ask(request))
        self.turn()

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def a_call_ends(self, data: st.DataObject) -> None:
        _, done = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        done.set_result(None)
        self.turn()

    @precondition(lambda self: any(not task.done() for task in self.asked.values()))
    @rule(data=st.data())
    def somebody_gives_up(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from([request for request, task in self.asked.items() if not task.done()]))
        self.asked[request].cancel()
        self.given_up.add(request)
        self.turn()

    def turn(self) -> None:
        for _ in range(12):
            self.loop.run_until_complete(asyncio.sleep(0))

    @invariant()
    def calls_are_within_bounds(self) -> None:
        assert len(self.calls) <= self.bounds.calls if self.asked else True
        for requests, _ in self.calls:
            assert len(requests) <= self.bounds.requests
            assert len(requests) == 1 or sum(request.tokens for request in requests) <= self.bounds.tokens

    @invariant()
    def nobody_waits_while_a_call_is_free(self) -> None:
        waiting = [request for request, task in self.asked.items() if not task.done() and request not in self.seen]
        assert not waiting or len(self.calls) == self.bounds.calls

    @invariant()
    def every_answer_is_ones_own(self) -> None:
        for request, task in self.asked.items():
            if not task.done() or request in self.given_up:
                continue
            if request.bad:
                assert isinstance(task.exception(), Transient)
            else:
                assert task.result() == request.number

    def teardown(self) -> None:
        while self.calls:
            self.calls.pop()[1].set_result(None)
            self.turn()
        assert all(task.done() for task in self.asked.values()), "somebody waits for ever"
        self.every_answer_is_ones_own()
        self.loop.close()


TestSchedulerAgainstAModel = SchedulerAgainstAModel.TestCase
TestSchedulerAgainstAModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
