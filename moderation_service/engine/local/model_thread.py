"""The one thread that touches a model, and what may be done there between the words of an explanation."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

Result = TypeVar("Result")


class ModelThread:
    """Work in the order it comes, but for `brief` work, which a long one lets pass where it calls a `TimeSlice`."""

    def __init__(self) -> None:
        """No thread runs until there is work."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._brief: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()

    async def run(self, work: Callable[[], Result]) -> Result:
        """Do it in its turn. Raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def run_brief(self, work: Callable[[], Result]) -> Result:
        """Do it in its turn, or sooner in a gap. Raises what it raises."""
        done: Future[Result] = Future()
        self._brief.put((done, work))
        self._thread.submit(self.run_brief_work)  # which finds it done where there was a gap
        return await asyncio.wrap_future(done)

    def run_brief_work(self) -> None:
        """On the thread: the first brief work that waits, if any does."""
        try:
            done, work = self._brief.get_nowait()
        except Empty:
            return
        if done.set_running_or_notify_cancel():
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits
                done.set_exception(error)

    def close(self) -> None:
        """Do what waits, take no more, and end."""
        self._thread.shutdown()


class TimeSlice:
    """Called between the words of one long work: does brief work there, for half of the time at most."""

    def __init__(self, thread: ModelThread) -> None:
        """The long work begins now."""
        self._thread = thread
        self._began = time.monotonic()
        self._given = 0.0

    def __call__(self) -> None:
        """Let one brief work pass, if any waits and the long one has had its share."""
        now = time.monotonic()
        if 2 * self._given <= now - self._began:
            self._thread.run_brief_work()
            self._given += time.monotonic() - now
