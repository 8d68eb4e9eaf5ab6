"""A judge by the shipped policies on an engine of the bench's choice."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from moderation_service.engine.base import Engine
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.judge import Judge
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.pack import load_pack
from moderation_service.settings import Settings, shipped_policies


@asynccontextmanager
async def open_judge(settings: Settings, engine: Engine) -> AsyncIterator[Judge]:
    """Start the engine and judge with it; raw scores are taken as they are. Raises Fatal as the engine does."""
    pack = load_pack(shipped_policies(), images=False)
    await engine.start()
    try:
        async with (
            ImageLoader(settings.media) as loader,
            Batcher(engine, settings.engine) as batcher,
            Batcher(engine, settings.engine) as apart,
        ):
            judge = Judge(
                settings=settings,
                pack=pack,
                calibration=Calibration.load(None),
                loader=loader,
                engine=engine,
                batcher=batcher,
                shadow_batcher=apart,
            )
            await judge.prepare()
            yield judge
    finally:
        await engine.close()
