import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation_service.errors import Fatal, Transient
from moderation_service.judging.scheduler import RECOVERY, CallLimits, Scheduler

BUDGET = 64


class Callee:
    """Answers a number with its negative, where the gate is open and there is `memory` for so much at once."""

    def __init__(self, memory: int = BUDGET) -> None:
        self.memory = memory
        self.bad: set[int] = set()
        self.calls: list[list[int]] = []
        self.answered: list[int] = []
        self.entered = asyncio.Event()
        self.running = self.most_running = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.calls.append(list(numbers))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.entered.set()
        try:
            await self.gate.wait()
            if len(numbers) > self.memory:
                raise Transient("out_of_memory", "too much")
            if self.bad & set(numbers):
                raise Transient("engine_error", "broken")
            self.answered += numbers
            return [-number for number in numbers]
        finally:
            self.running -= 1

    @property
    def sizes(self) -> list[int]:
        return [len(call) for call in self.calls]


@asynccontextmanager
async def scheduling(callee: Callee, calls: int = 1, tokens: int = BUDGET) -> AsyncIterator[Scheduler[int, int]]:
    """Each request is of one token."""
    async with Scheduler(callee, lambda _: 1, CallLimits(calls, 10_000, tokens)) as scheduler:
        yield scheduler


async def ask_with_key(scheduler: Scheduler[int, int], key: str, number: int) -> int:
    return await scheduler.ask(number, key)


async def test_an_idle_callee_is_asked_at_once_and_a_busy_one_by_all_who_came_meanwhile() -> None:
    callee = Callee()
    callee.gate.clear()
    async with scheduling(callee) as scheduler:
        first = asyncio.create_task(scheduler.ask(1))
        await callee.entered.wait()
        later = [asyncio.create_task(scheduler.ask(number)) for number in (2, 3, 4)]
        await asyncio.sleep(0)
        assert scheduler.waiting == 3
        callee.gate.set()
        assert await asyncio.gather(first, *later) == [-1, -2, -3, -4]
    assert callee.calls == [[1], [2, 3, 4]]


async def test_what_is_asked_together_goes_together() -> None:
    callee = Callee()
    async with scheduling(callee) as scheduler:
        await asyncio.gather(scheduler.ask(1), scheduler.ask(2))
    assert callee.calls == [[1, 2]]


async def test_lanes_have_their_turn_however_much_another_asks() -> None:
    callee = Callee()
    async with scheduling(callee, tokens=4) as scheduler:
        flood = [asyncio.create_task(ask_with_key(scheduler, "flood", number)) for number in range(20)]
        drop = [asyncio.create_task(ask_with_key(scheduler, "drop", number)) for number in (100, 101)]
        await asyncio.gather(*flood, *drop)
    assert callee.calls[0] == [0, 100, 1, 101]
    assert sum(callee.calls, []) == [0, 100, 1, 101, *range(2, 20)]  # noqa: RUF017


async def test_a_request_larger_than_a_call_goes_alone_and_none_passes_it() -> None:
    callee = Callee()
    async with Scheduler(callee, lambda number: number, CallLimits(1, 10, BUDGET)) as scheduler:
        await asyncio.gather(*(scheduler.ask(number) for number in (1, 2, 10 * BUDGET, 3, 4)))
    assert callee.calls == [[1, 2], [10 * BUDGET], [3, 4]]


async def test_several_calls_run_at_once_where_they_may() -> None:
    callee = Callee()
    callee.gate.clear()
    async with scheduling(callee, calls=3, tokens=2) as scheduler, asyncio.TaskGroup() as group:
        tasks = [group.create_task(scheduler.ask(number)) for number in range(20)]
        await callee.entered.wait()
        callee.gate.set()
    assert callee.most_running == 3
    assert [task.result() for task in tasks] == [-number for number in range(20)]


async def test_a_call_without_memory_goes_on_in_halves_and_the_next_are_smaller_until_it_recovers() -> None:
    callee = Callee(memory=BUDGET // 4)
    async with scheduling(callee) as scheduler:

        async def flood(times: int) -> list[int]:
            callee.calls.clear()
            numbers = range(times * BUDGET)
            assert await asyncio.gather(*map(scheduler.ask, numbers)) == [-number for number in numbers]
            return callee.sizes

        first = await flood(1)
        assert first == [BUDGET, BUDGET // 2, BUDGET // 4, BUDGET // 4, BUDGET // 2, BUDGET // 4, BUDGET // 4]
        callee.memory = BUDGET
        after = await flood(RECOVERY)
        assert after[0] <= BUDGET // 2
        assert after == sorted(after[:-1]) + after[-1:]
        assert max(after) == BUDGET


async def test_one_that_breaks_the_callee_takes_no_other_with_it_and_costs_few_calls() -> None:
    callee = Callee()
    callee.bad = {37}
    async with scheduling(callee) as scheduler:
        answers = await asyncio.gather(*map(scheduler.ask, range(BUDGET)), return_exceptions=True)
    assert [number for number, answer in enumerate(answers) if answer != -number] == [37]
    assert isinstance(answers[37], Transient)
    assert len(callee.calls) == 1 + 2 * 6  # two a halving


async def test_who_is_left_of_a_call_that_another_broke_and_gave_up_is_answered() -> None:
    callee = Callee()
    callee.bad = {2}
    callee.gate.clear()
    async with scheduling(callee) as scheduler:
        good, bad = (asyncio.create_task(scheduler.ask(number)) for number in (1, 2))
        await callee.entered.wait()
        bad.cancel()
        callee.gate.set()
        assert await good == -1
    assert callee.calls == [[1, 2], [1]]


async def test_a_fatal_error_reaches_all_and_nothing_is_tried_again() -> None:
    class Broken(Callee):
        async def __call__(self, numbers: Sequence[int]) -> list[int]:
            await super().__call__(numbers)
            raise Fatal("the device is gone")

    callee = Broken()
    async with scheduling(callee) as scheduler:
        answers = await asyncio.gather(*map(scheduler.ask, range(5)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {Fatal}
    assert len(callee.calls) == 1


async def test_at_the_end_whoever_waits_is_let_go() -> None:
    callee = Callee()
    callee.gate.clear()
    async with scheduling(callee, tokens=2) as scheduler:
        tasks = [asyncio.create_task(scheduler.ask(number)) for number in range(5)]
        await callee.entered.wait()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.gather(*tasks)
    assert await asyncio.wait(tasks, timeout=0) == (set(tasks), set())
    assert not callee.running


class Story:
    """What may happen round a scheduler, a step at a time, and what must be so in the end."""

    def __init__(self, scheduler: Scheduler[int, int], callee: Callee) -> None:
        self.scheduler, self.callee = scheduler, callee
        self.tasks: list[asyncio.Task[int]] = []
        self.given_up: set[int] = set()

    async def ask(self, key: int) -> None:
        self.tasks.append(asyncio.create_task(ask_with_key(self.scheduler, str(key % 4), len(self.tasks))))

    async def ask_what_breaks(self, key: int) -> None:
        self.callee.bad.add(len(self.tasks))
        await self.ask(key)

    async def give_up(self, number: int) -> None:
        if number < len(self.tasks) and not self.tasks[number].done():
            self.tasks[number].cancel()
            self.given_up.add(number)

    async def have_memory(self, number: int) -> None:
        self.callee.memory = number

    async def let_pass(self, number: int) -> None:
        (self.callee.gate.set if number % 2 else self.callee.gate.clear)()

    async def wait(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    async def end(self) -> None:
        self.callee.gate.set()
        async with asyncio.timeout(20):
            answers = await asyncio.gather(*self.tasks, return_exceptions=True)
        for number, answer in enumerate(answers):
            if number in self.given_up:
                assert isinstance(answer, asyncio.CancelledError)
            elif number in self.callee.bad:
                assert isinstance(answer, Transient)
            else:
                assert answer == -number
        assert len(self.callee.answered) == len(set(self.callee.answered))
        assert not self.scheduler.waiting


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(
                [Story.ask] * 3 + [Story.ask_what_breaks, Story.give_up, Story.have_memory, Story.let_pass, Story.wait]
            ),
            st.integers(1, 20),
        ),
        max_size=120,
    ),
    calls=st.integers(1, 3),
    tokens=st.integers(1, BUDGET),
)
def test_whatever_happens_each_request_has_its_own_answer_and_once(
    steps: list[tuple[Callable[[Story, int], Awaitable[None]], int]], calls: int, tokens: int
) -> None:
    async def run() -> None:
        callee = Callee()
        async with scheduling(callee, calls, tokens) as scheduler:
            story = Story(scheduler, callee)
            for step, number in steps:
                await step(story, number)
            await story.end()
        assert callee.most_running <= calls
        assert max(callee.sizes, default=0) <= tokens

    asyncio.run(run())
