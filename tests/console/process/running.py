"""`moderation console` as a process, for tests that end it in every way."""

import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from moderation_service.settings import KafkaSettings
from tests.line.service import Service, environment, started


def console_environment(database_url: str, kafka: KafkaSettings, **more: str) -> dict[str, str]:
    """The environment of a console on this database and these topics, on a free port."""
    console = {
        "DATABASE_URL": database_url,
        "HOST": "127.0.0.1",
        "PORT": "0",
        "OPS_PORT": "0",
        "SECURE_COOKIES": "false",
    }
    named = {f"MODERATION_CONSOLE__{name}": value for name, value in console.items()}
    return environment(kafka, MODERATION_LOGGING__FORMAT="json", **named, **more)


class Console(Service):
    """A running console and the lines that it logs."""

    async def address(self) -> str:
        """Where it answers, once it does."""
        await self.logged("console open")
        (line,) = (json.loads(line) for line in self.lines if "console open" in line)
        return f"http://127.0.0.1:{line['port']}"


def console(env: Mapping[str, str], *command: str) -> AbstractAsyncContextManager[Console]:
    """`moderation console`, or another command."""
    return started(Console, command or ("console",), env)
