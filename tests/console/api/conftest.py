"""Consoles that run with the bundled model, and callers with keys."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.app.compose import open_judge
from moderation_service.judging.judge import Judge
from moderation_service.settings import MediaSettings, Settings
from tests.console.api.callers import Api, running
from tests.console.support import console_settings, shipped_pack


@pytest.fixture
async def judge() -> AsyncIterator[Judge]:
    """The bundled model and the shipped policies; the web is fetched from as in production, but given up early."""
    async with open_judge(Settings(media=MediaSettings(fetch_timeout_s=2.0)), shipped_pack()) as opened:
        yield opened


@pytest.fixture
async def api(database: AsyncEngine, database_url: str, judge: Judge) -> AsyncIterator[Api]:
    async with running(database, console_settings(database_url, judging_backend="local"), judge) as started:
        yield started


@pytest.fixture
async def quiet_api(database: AsyncEngine, database_url: str) -> AsyncIterator[Api]:
    """One that judges nothing."""
    async with running(database, console_settings(database_url)) as started:
        yield started
