"""The commands that run until they are stopped: the worker and the console."""

import asyncio
from typing import Annotated

from cyclopts import Parameter

from moderation_service.app import console, service
from moderation_service.cli.common import SettingsFile, exit_after, load


def run(*, settings: SettingsFile = None) -> int:
    """Consume, judge, publish, until SIGTERM (drains, then exits 0).

    Example: `MODERATION_KAFKA__BOOTSTRAP_SERVERS=kafka:9092 moderation run`
    """
    asyncio.run(exit_after(service.run(load(settings))))
    return 0


def run_console(
    *, migrate: Annotated[bool, Parameter(help="Migrate the tables and exit.")] = False, settings: SettingsFile = None
) -> int:
    """The reviewers' pages and the HTTP API, until SIGTERM. Users: `moderation users`, API keys: `moderation keys`.

    `--migrate` is for a job before a rollout.

    Example: `MODERATION_KAFKA__BOOTSTRAP_SERVERS=kafka:9092 moderation console`
    """
    if migrate:
        asyncio.run(console.migrate(load(settings)))
        return 0
    asyncio.run(exit_after(console.run_console(load(settings))))
    return 0
