"""The commands that stay: the worker, the console, the demonstration."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from moderation_service.app import service
from moderation_service.app.demo import demo as run_demo
from moderation_service.cli.common import Servers, SettingsFile, extra, load, show, writable


def run(*, settings: SettingsFile = None) -> int:
    """Consume, judge, publish, until SIGTERM (drains, then exits 0).

    Example: `MODERATION_KAFKA__BOOTSTRAP_SERVERS=kafka:9092 moderation run`
    """
    asyncio.run(_and_exit(service.run(load(settings))))
    return 0


def run_console(*, migrate: bool = False, settings: SettingsFile = None) -> int:
    """The reviewers' pages and the HTTP API, until SIGTERM. Users: `moderation users`, API keys: `moderation keys`.

    With `--migrate` it only makes or migrates the tables of its database: for a job before a rollout.

    Example: `MODERATION_KAFKA__BOOTSTRAP_SERVERS=kafka:9092 moderation console`
    """
    if migrate:
        asyncio.run(extra("console", "console").migrate(load(settings)))
        return 0
    asyncio.run(_and_exit(extra("console", "console").run_console(load(settings))))
    return 0


def demo(
    *,
    bootstrap_servers: Servers = None,
    report: Path = Path("demo-report.html"),
    serve: bool = False,
    port: int = 8080,
    every: float = 3.0,
) -> int:
    """Publish sample posts, judge them with the bundled model, print the verdicts, write a report.

    Without an address the broker is an embedded one (at least once); with one, a real Kafka (exactly once).
    With `--serve` it stays up with the reviewers' console on `--port`, and a post comes in every few seconds.

    Example: `moderation demo`
    """
    if serve:
        asyncio.run(_and_exit(extra("serve", "console").serve(port, every, partial(print, flush=True))))
    report = writable(report, "--report")
    made = asyncio.run(run_demo(bootstrap_servers))
    report.write_text(made.page(), encoding="utf-8")
    show(made.table(), made.how, f"Report: {report}")
    return 0


async def _and_exit(work: Coroutine[Any, Any, None]) -> None:
    """All is drained when a service returns; what still loads or scores on a thread would hold the process up."""
    await work
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # inside the loop: its end waits for threads
