"""The console's policies change with the files, with a judge and without."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from moderation_service.app.compose import open_judge
from moderation_service.app.console import follow_pack, judge_by, with_judging_engine
from moderation_service.app.reload import reloading
from moderation_service.console.context import ConsoleContext
from moderation_service.errors import Misconfigured
from moderation_service.policies.pack import load_pack
from moderation_service.settings import ConsoleSettings, EngineSettings, PolicySettings, Settings
from tests.line.test_reload import BROKEN, SHIPPED, with_threshold
from tests.policies.mounted import ConfigMap
from tests.stream.support import eventually

EVERY_S = 0.05


def context_on(database: AsyncEngine, mounted: ConfigMap) -> ConsoleContext:
    settings = Settings(policies=PolicySettings(path=mounted.path, reload_seconds=EVERY_S))
    pack = load_pack(mounted.path, images=False)
    return ConsoleContext(settings, database, pack)


async def test_without_a_judge_new_policies_are_shown_and_wrong_ones_said_once(
    database: AsyncEngine, tmp_path: Path
) -> None:
    mounted = ConfigMap(tmp_path / "policies", SHIPPED)
    context = context_on(database, mounted)
    before = context.pack.digest
    with capture_logs() as logs:
        following = asyncio.create_task(follow_pack(context))
        mounted.update(BROKEN)
        await eventually(lambda: any(line["event"].startswith("policies refused") for line in logs), "refused")
        await asyncio.sleep(4 * EVERY_S)
        assert len([line for line in logs if line["event"].startswith("policies refused")]) == 1
        assert context.pack.digest == before
        mounted.update(with_threshold(0.77))
        await eventually(lambda: context.pack.digest != before, "new policies")
        following.cancel()


@pytest.mark.timeout(180)
async def test_with_a_judge_both_change_together(database: AsyncEngine, tmp_path: Path) -> None:
    mounted = ConfigMap(tmp_path / "policies", SHIPPED)
    context = context_on(database, mounted)
    before = context.pack.digest
    async with open_judge(context.settings, context.pack) as judge:
        judge_by(context, judge)
        async with reloading(context.settings, judge, lambda newer: judge_by(context, newer)):
            mounted.update(with_threshold(0.77))
            await eventually(lambda: context.pack.digest != before, "new policies")
            assert context.judge is not judge
            assert context.judge is not None
            assert context.judge.pack is context.pack


def test_the_engine_is_the_one_that_the_console_names() -> None:
    engine = EngineSettings(base_url="http://127.0.0.1:1/v1")
    given = Settings(engine=engine, console=ConsoleSettings(judging_backend="openai"))
    assert with_judging_engine(given).engine == engine.model_copy(update={"kind": "openai"})
    assert with_judging_engine(Settings()) == Settings()
    with pytest.raises(Misconfigured, match=r"engine\.base_url"):
        with_judging_engine(Settings(console=ConsoleSettings(judging_backend="openai")))
