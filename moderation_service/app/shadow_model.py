"""The shadow model's engine: opened beside the judge, in its own time, and retried while it can't be had."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from moderation_service.app.compose import BACKOFF, CLOSE_S, engine_class
from moderation_service.backoff import Backoff
from moderation_service.engine.base import Engine
from moderation_service.errors import Misconfigured, Unavailable
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.shadow_model import ShadowModel
from moderation_service.judging.verdict_builder import model_metadata
from moderation_service.settings import EngineSettings, Settings

log = structlog.get_logger(__name__)


def shadow_model_of(settings: Settings) -> ShadowModel | None:
    """The shadow model of the settings, not up yet; None without one. Raises Misconfigured for its calibration."""
    if settings.engine.for_shadow() is None:
        return None
    calibration = Calibration.load(settings.judging.shadow_calibration, "judging.shadow_calibration")
    return ShadowModel(settings.judging, calibration)


@asynccontextmanager
async def running(settings: Settings, shadow: ShadowModel | None, backoff: Backoff = BACKOFF) -> AsyncIterator[None]:
    """During the block the shadow model's engine starts and is asked; what fails with it is logged, never raised."""
    chosen = settings.engine.for_shadow()
    task = asyncio.create_task(_run(settings, chosen, shadow, backoff)) if chosen and shadow else None
    try:
        yield
    finally:
        if task:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _run(settings: Settings, chosen: EngineSettings, shadow: ShadowModel, backoff: Backoff) -> None:
    own = settings.model_copy(update={"engine": chosen})
    try:
        engine = (await asyncio.to_thread(engine_class, own))(chosen)
        await _start(engine, backoff)
        try:
            model = model_metadata(engine.info, own, shadow.calibration.calibration_id)
            if why := shadow.calibration.differs_from(model):
                msg = f"judging.shadow_calibration {settings.judging.shadow_calibration}: {why}"
                raise Misconfigured(msg)
            async with Batcher(engine, chosen, is_measured=False) as batcher:
                shadow.use(batcher, model)
                log.info("shadow model loaded", model=model.name, revision=model.revision)
                await asyncio.Event().wait()
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await engine.close()
    except Exception as error:  # noqa: BLE001 - whatever it is, posts are judged without it
        log.error("no shadow model: posts are judged without it", error=str(error) or repr(error))  # noqa: TRY400


async def _start(engine: Engine, backoff: Backoff) -> None:
    """Start the engine, again while its server is away. Raises Fatal: a model that does not load is not tried again."""
    attempts = 0
    while True:
        attempts += 1
        try:
            await engine.start()
        except Unavailable as error:
            log.warning("the shadow model's server is away", error=str(error), attempts=attempts)
        else:
            return
        await backoff.wait(attempts)
