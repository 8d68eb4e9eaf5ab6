"""Time in tests: a clock that is set by hand, and bounds of CPU time that follow the machine's speed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache


@dataclass
class Clock:
    """A clock in seconds that stands still until it is set."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@cache
def slowness() -> float:
    """How many times slower this machine is than that of the bounds, on which the loop below took 6.5 ms."""

    def loop() -> float:
        begun = time.thread_time()
        for _ in range(300_000):
            pass
        return time.thread_time() - begun

    return max(1.0, min(loop() for _ in range(5)) / 0.0065)


@contextmanager
def cpu_time_below(seconds: float) -> Iterator[None]:
    """Fail where the block costs more CPU time than so many seconds of a usual machine."""
    begun = time.process_time()
    yield
    took = time.process_time() - begun
    assert took < seconds * slowness(), f"{took:.2f} s of CPU"
