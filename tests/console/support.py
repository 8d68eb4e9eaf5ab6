"""A console that runs, as callers and browsers meet it: on a free port, in this process and on this loop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from moderation_service.console.app import build
from moderation_service.console.context import ConsoleContext
from moderation_service.console.server import serving
from moderation_service.policies.pack import PolicyPack, load_pack
from moderation_service.settings import ConsoleSettings, KafkaSettings, PolicySettings, Settings


def console_settings(database_url: str, *, kafka: KafkaSettings | None = None, **console: object) -> Settings:
    """Settings of a console under test: plain HTTP, this database, and what else is said of `console`."""
    given = {
        "secure_cookies": False,
        "host": "127.0.0.1",
        "port": 0,
        "ops_port": 0,
        "database_url": database_url,
        **console,
    }
    return Settings(kafka=kafka or KafkaSettings(), console=ConsoleSettings.model_validate(given))


def shipped_pack() -> PolicyPack:
    """The policies that come with the service."""
    return load_pack(PolicySettings().path, images=False)


@asynccontextmanager
async def served(context: ConsoleContext) -> AsyncIterator[str]:
    """The address of a server of these context, `http://127.0.0.1:PORT`, until the block is left."""
    async with serving(build(context), "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}"
