"""Parts of a console on each database, with Kafka or without."""

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.context import ConsoleContext
from moderation_service.settings import Settings
from tests.console.support import console_settings, shipped_pack
from tests.stream.support import kafka_settings, make_topics


@pytest.fixture
def context(database_url: str, database: AsyncEngine) -> ConsoleContext:
    """Without Kafka: what is decided stays in the outbox."""
    return ConsoleContext(settings=console_settings(database_url), database=database, pack=shipped_pack())


@pytest.fixture
def settings_on(kafka: str, unique: str, database_url: str) -> Callable[..., Awaitable[Settings]]:
    """Settings with topics of the test's own, and what else is said of `console`."""

    async def made(**console: object) -> Settings:
        broker = kafka_settings(kafka, unique)
        await make_topics(broker)
        return console_settings(database_url, kafka=broker, **console)

    return made
