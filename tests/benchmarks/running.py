"""A benchmark as its users run it: a process that prints JSON."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from typing import Any

from tests.line.service import environment

CONDITIONS = {"machine", "versions", "command", "seed", "ratio"}


async def benchmark(name: str, *options: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    command = (sys.executable, "-m", f"benchmarks.{name}", *options)
    process = await asyncio.create_subprocess_exec(*command, env=environment(), stdout=PIPE, stderr=PIPE)
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def figures_of(name: str, *options: str) -> dict[str, Any]:
    """What it prints, with what it was measured on."""
    code, out, err = await benchmark(name, *options)
    assert code == 0, err
    printed: dict[str, Any] = json.loads(out)
    assert printed.keys() >= CONDITIONS
    return printed
