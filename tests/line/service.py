"""The service as its users start it: a process with settings in its environment."""

import asyncio
import os
import secrets
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

from moderation_service.settings import KafkaSettings

PYTHON = sys.executable


def kafka_settings(address: str) -> KafkaSettings:
    """Topics and a group of one test's own."""
    run = secrets.token_hex(4)
    topics = {
        f"{kind}_topic": f"{run}.{kind}"
        for kind in ("input", "output", "dead_letter", "review", "audit", "banks", "escalation")
    }
    return KafkaSettings(bootstrap_servers=address, group=f"{run}.group", **topics)  # type: ignore[arg-type]


def environment(kafka: KafkaSettings | None = None, **more: str) -> dict[str, str]:
    """This process's environment with the settings, and quiet threads."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("MODERATION_")}
    found |= {
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "MODERATION_OPS__PORT": "0",
        "MODERATION_OPS__HOST": "127.0.0.1",
    }
    if kafka:
        changed = kafka.model_dump(mode="json", exclude_defaults=True)
        found |= {f"MODERATION_KAFKA__{name.upper()}": str(value) for name, value in changed.items()}
    return {**found, **more}


async def moderation(
    *arguments: str, env: Mapping[str, str] | None = None, told: str | None = None
) -> tuple[int, str, str]:
    """Run a command to its end: exit code, standard output, standard error. `told`: what it finds on standard input."""
    process = await _start(arguments, env or environment(), None if told is None else PIPE)
    out, err = await process.communicate(None if told is None else told.encode())
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


class Service:
    """A running service and the lines it logs."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._seen = asyncio.Condition()
        self.reading = asyncio.create_task(self._read())

    def count(self, words: str) -> int:
        """In how many lines `words` stood so far."""
        return sum(words in line for line in self.lines)

    async def logged(self, words: str, times: int = 1) -> None:
        """Wait until `words` stood in so many lines. Raises AssertionError if the process ends before."""
        async with self._seen:
            await self._seen.wait_for(lambda: self.count(words) >= times or self.process.returncode is not None)
        assert self.count(words) >= times, "\n".join(self.lines[-20:])

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()

    async def _read(self) -> None:
        assert self.process.stderr
        async for line in self.process.stderr:
            async with self._seen:
                self.lines.append(line.decode())
                self._seen.notify_all()
        await self.process.wait()
        async with self._seen:
            self._seen.notify_all()


S = TypeVar("S", bound=Service)


@asynccontextmanager
async def started(
    kind: type[S], command: tuple[str, ...], env: Mapping[str, str], module: str = "moderation_service"
) -> AsyncIterator[S]:
    """`moderation` with this command; killed at the end of the block if it still runs."""
    process = await _start(command, env, module=module)
    service = kind(process)
    try:
        yield service
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        service.reading.cancel()


def worker(env: Mapping[str, str]) -> AbstractAsyncContextManager[Service]:
    """`moderation run`."""
    return started(Service, ("run",), env)


def rule_worker(env: Mapping[str, str]) -> AbstractAsyncContextManager[Service]:
    """The same, with an engine of rules instead of a model: it starts in a second."""
    return started(Service, (), env, "tests.line.rule_worker")


async def _start(
    arguments: tuple[str, ...],
    env: Mapping[str, str],
    stdin: int | None = None,
    module: str = "moderation_service",
) -> Process:
    command = (PYTHON, "-m", module, *arguments)
    return await asyncio.create_subprocess_exec(
        *command, env=dict(env), stdin=stdin, stdout=PIPE, stderr=PIPE, limit=2**24
    )
