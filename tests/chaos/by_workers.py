"""Workers are killed, stopped, frozen and stalled, and come and go."""

import asyncio
import signal
from collections.abc import Sequence

from tests.chaos.arena import DONE_S, Arena, Scenario
from tests.chaos.service_process import STALLED
from tests.chaos.workers import Worker
from tests.stream.support import eventually

SESSION_S = 3.0
FROZEN_S = SESSION_S + 3
MOST_MEMBERS = 8


def kills(times: int) -> Scenario:
    """SIGKILL of one that holds partitions, again and again; sometimes the others get on in between."""

    async def scenario(arena: Arena) -> None:
        for number in range(times):
            await asyncio.sleep(arena.rng.uniform(0.2, 2.0))
            if number % 5 == 0:
                await arena.until_done(arena.rng.randint(1, 60))
            working = [worker for worker in arena.workers if _works(worker)]
            arena.kill_worker(arena.rng.choice(working or arena.workers))
            arena.did("SIGKILL")
            arena.start_worker()

    return scenario


def terms(times: int) -> Scenario:
    """SIGTERM, and a new one at once, while the last are still leaving."""

    async def scenario(arena: Arena) -> None:
        leaving = []
        for _ in range(times):
            await asyncio.sleep(arena.rng.uniform(0.2, 2.0))
            await eventually(lambda: any(map(_works, arena.workers)), "one has partitions", DONE_S)
            working = [worker for worker in arena.workers if _works(worker)]
            leaving.append(asyncio.create_task(arena.stop_worker(arena.rng.choice(working))))
            await asyncio.sleep(0)
            arena.did("SIGTERM")
            arena.start_worker()
        await asyncio.gather(*leaving)

    return scenario


def rolling(rounds: int) -> Scenario:
    """Each in turn is stopped and replaced, as a deployment does."""

    async def scenario(arena: Arena) -> None:
        for _ in range(rounds):
            for worker in list(arena.workers):
                await arena.stop_worker(worker)
                arena.did("bounce")
                await arena.start_worker().ready()
                await arena.until_done(20)

    return scenario


def storm(steps: int) -> Scenario:
    """Between 1 and 8 members, who come and go without waiting for one another."""

    async def scenario(arena: Arena) -> None:
        leaving = []
        for _ in range(steps):
            wanted = arena.rng.randint(1, MOST_MEMBERS)
            while len(arena.workers) < wanted:
                arena.start_worker()
                arena.did("join")
            started = [worker for worker in arena.workers if worker.logged("ops port open")]
            for worker in started[: max(0, len(arena.workers) - wanted)]:
                leaving.append(asyncio.create_task(arena.stop_worker(worker)))
                await asyncio.sleep(0)
                arena.did("leave")
            await asyncio.sleep(arena.rng.uniform(1, 4))
        await asyncio.gather(*leaving)

    return scenario


def zombies(times: int) -> Scenario:
    """Frozen beyond its session, so that others have its partitions when it thaws."""

    async def scenario(arena: Arena) -> None:
        for _ in range(times):
            zombie = arena.rng.choice(arena.workers)
            others = [worker for worker in arena.workers if worker is not zombie]
            zombie.send(signal.SIGSTOP)
            try:
                await _more(others, "partition open")
                await asyncio.sleep(FROZEN_S)
                await arena.until_done(20)
            finally:
                zombie.send(signal.SIGCONT)
            arena.did("zombie")
            await arena.until_done(100)

    return scenario


def stalls(times: int) -> Scenario:
    """The event loop stands still for longer than the session, while the process's other threads go on."""

    async def scenario(arena: Arena) -> None:
        for _ in range(times):
            victim = arena.rng.choice(arena.workers)
            stalled = asyncio.create_task(_more([victim], STALLED))
            await asyncio.sleep(0)
            victim.send(signal.SIGUSR1)
            await stalled
            arena.did("stall")
            await arena.until_done(200)

    return scenario


def _works(worker: Worker) -> bool:
    return worker.logged("partition open") > 0


async def _more(workers: Sequence[Worker], event: str) -> None:
    """Wait until one of them logs it once more."""
    before = sum(worker.logged(event) for worker in workers)
    await eventually(lambda: sum(worker.logged(event) for worker in workers) > before, f"{event!r} is logged", 60)
