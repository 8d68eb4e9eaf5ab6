import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from moderation_service.engine.local import engine as engine_module
from moderation_service.engine.local.engine import ModelThread, TimeSlice


@pytest.fixture
async def thread() -> AsyncIterator[ModelThread]:
    thread = ModelThread()
    yield thread
    thread.close()


class Long:
    """Work of a word after the other, until it is told that it is `enough`."""

    def __init__(self, thread: ModelThread) -> None:
        self.thread, self.begun, self.enough = thread, threading.Event(), threading.Event()

    def __call__(self) -> str:
        gap = TimeSlice(self.thread)
        self.begun.set()
        while not self.enough.wait(0.001):
            gap()
        return "written"


async def test_brief_work_passes_in_the_gaps_of_long_work_on_the_same_thread_and_once(thread: ModelThread) -> None:
    long, seen = Long(thread), list[str]()

    def brief() -> int:
        seen.append(threading.current_thread().name)
        return len(seen)

    working = asyncio.create_task(thread.run(long))
    assert await asyncio.to_thread(long.begun.wait, 60)
    assert await asyncio.gather(*(thread.run_interleaved(brief) for _ in range(3))) == [1, 2, 3]
    assert not working.done()
    long.enough.set()
    assert await working == "written"
    assert await thread.run_interleaved(brief) == 4
    assert set(seen) == {"engine_0"}


def test_long_work_keeps_half_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 0.0

        def run_interleaved_work(self) -> None:
            self.now += 3.0
            passed.append(self.now)

    clock, passed = Clock(), list[float]()
    monkeypatch.setattr(engine_module.time, "monotonic", lambda: clock.now)
    gap = TimeSlice(clock)  # type: ignore[arg-type]
    for _ in range(9):
        clock.now += 1.0  # a word
        gap()
    assert passed == [4.0, 9.0, 15.0, 21.0]


async def test_what_brief_work_raises_is_its_own_affair(thread: ModelThread) -> None:
    long = Long(thread)

    def broken() -> None:
        raise ValueError("broken")

    working = asyncio.create_task(thread.run(long))
    with pytest.raises(ValueError, match="broken"):
        await thread.run_interleaved(broken)
    long.enough.set()
    assert await working == "written"
