"""Workers as they are deployed, `moderation run` each in a process of its own, for a bench to drive."""

import asyncio
import os
import sys
import tempfile
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from moderation_service.bench.broker import free_port
from moderation_service.errors import Fatal
from moderation_service.settings import PREFIX, KafkaSettings

_LOOK_S = 0.1


@asynccontextmanager
async def fleet(kafka: KafkaSettings, workers: int, threads: int) -> AsyncIterator[None]:
    """Run so many workers for the block, each ready when it begins; stopped as a rollout does.

    What is no setting of Kafka is taken from the environment, where OMP_NUM_THREADS goes before `threads`, those of the
    model on a CPU. Raises Fatal with the last line of its log where a worker ends before it is ready.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet-")))
        started = [
            await stack.enter_async_context(_worker(kafka, threads, folder / f"{number}.log"))
            for number in range(workers)
        ]
        await asyncio.gather(*(_ready(*each) for each in started))
        yield


@asynccontextmanager
async def _worker(kafka: KafkaSettings, threads: int, log: Path) -> AsyncIterator[tuple[Process, int, Path]]:
    port = free_port()
    with log.open("wb") as out:
        command = (sys.executable, "-m", "moderation_service", "run")
        env = _environment(kafka, port, threads)
        process = await asyncio.create_subprocess_exec(*command, env=env, stdout=DEVNULL, stderr=out)
    try:
        yield process, port, log
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _environment(kafka: KafkaSettings, port: int, threads: int) -> dict[str, str]:
    section = f"{PREFIX}KAFKA__"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(section)}
    changed = kafka.model_dump(mode="json", exclude_defaults=True)
    return {
        "OMP_NUM_THREADS": str(threads),
        f"{PREFIX}LOGGING__FORMAT": "json",
        **kept,
        **{f"{section}{name.upper()}": str(value) for name, value in changed.items()},
        f"{PREFIX}OPS__HOST": "127.0.0.1",
        f"{PREFIX}OPS__PORT": str(port),
    }


async def _ready(process: Process, port: int, log: Path) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    if answer.status == 200:  # noqa: PLR2004 - ready
                        return
            except aiohttp.ClientError:
                pass  # the port is not open yet
            if process.returncode is not None:
                msg = f"bench load: a worker ended with {process.returncode} before it was ready: {_last_line(log)}"
                raise Fatal(msg)
            await asyncio.sleep(_LOOK_S)


def _last_line(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
