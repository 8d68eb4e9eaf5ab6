"""A backlog, and a producer ten times as fast as the engine: memory and probes stay bounded, the member stays."""

import asyncio
import os
import signal
import subprocess
import sys
import time

from tests.chaos.arena import Arena, Scenario
from tests.chaos.workers import EXIT_S
from tests.stream.processes import Process

ENGINE_DELAY_S = 0.5  # with 64 posts in flight: at most 128 posts a second
OVERLOAD_RATE = 1280.0
TEXT_BYTES = 2000
MOST_MB = 400
PROBE_MS = 1000
LOOK_S = 0.2


def overload(backlog: int, seconds: float, probe_ms: int = PROBE_MS) -> Scenario:
    """So many posts wait when the worker starts; it is looked at for so long. It can't get done, and need not."""

    async def scenario(arena: Arena) -> None:
        arena.partial = True
        arena.engine.delay_s = ENGINE_DELAY_S
        await asyncio.to_thread(arena.traffic.send, backlog)
        worker = arena.start_worker()
        await worker.ready()
        command = [sys.executable, "-m", "tests.chaos.prober", str(worker.port())]
        prober = Process(command, os.environ, arena.folder / "prober.log")
        try:
            arena.traffic.begin()
            megabytes, until = 0, time.monotonic() + seconds
            while time.monotonic() < until:
                megabytes = max(megabytes, await asyncio.to_thread(_megabytes, worker.pid))
                await asyncio.sleep(LOOK_S)
            prober.send(signal.SIGTERM)
            await asyncio.to_thread(prober.wait, EXIT_S)
        finally:
            prober.end()
        number, which = prober.log.read_text().split(maxsplit=1)
        slowest_ms = int(number)
        arena.counts |= {"in the backlog": backlog, "MB at most": megabytes, "ms the slowest probe": slowest_ms}
        assert arena.done() > 0, "something was judged"
        assert megabytes < MOST_MB, f"{megabytes} MB"
        assert slowest_ms < probe_ms, f"a probe took {slowest_ms} ms: {which}"
        assert worker.logged("partitions assigned") == 1, "the membership was lost"

    return scenario


def _megabytes(pid: int) -> int:
    """What the process holds in memory."""
    asked = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(asked.stdout) // 1024
