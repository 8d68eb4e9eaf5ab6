"""A judge with all its parts, from the settings."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog

from moderation_service.app import calibrations
from moderation_service.app.loading import load
from moderation_service.engine.model_report import CheckedEngine
from moderation_service.errors import Misconfigured
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.judge import Judge
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import EngineSettings, Settings
from moderation_service.telemetry import metrics

CLOSE_S = 1.0

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_judge(
    settings: Settings, pack: PolicyPack, shadow_pack: PolicyPack | None = None, *, startup_timeout_s: float = 0.0
) -> AsyncIterator[Judge]:
    """A judge on a loaded, warm engine. Raises Fatal where the model or a calibration that fits can't be had."""
    async with open_judges(settings, pack, shadow_pack=shadow_pack, startup_timeout_s=startup_timeout_s) as (judge,):
        yield judge


@asynccontextmanager
async def open_judges(
    settings: Settings, *packs: PolicyPack, shadow_pack: PolicyPack | None = None, startup_timeout_s: float = 0.0
) -> AsyncIterator[tuple[Judge, ...]]:
    """A judge a pack, all on one engine and one loader. Raises as `open_judge`."""
    calibration = calibrations.named(settings)
    check_packs(settings, packs, shadow_pack, calibration)
    # torch takes seconds to import: the probes are to answer meanwhile, and commands that judge nothing do without.
    engine = (await asyncio.to_thread(engine_class, settings))(settings.engine)
    await load(engine, startup_timeout_s)
    try:
        info = engine.info
        calibration = calibrations.fitting(settings, calibration, info)
        metrics.MODEL_INFO.labels(info.name, info.revision, info.dtype, info.layout).set(1)
        _warn_uncalibrated(settings, packs, calibration)
        log.info("model loaded", model=info.name, revision=info.revision, dtype=info.dtype, layout=info.layout)
        async with (
            ImageLoader(settings.media) as loader,
            Batcher(engine, settings.engine) as batcher,
            Batcher(engine, settings.engine) as apart,
        ):
            judge = Judge(
                settings=settings,
                pack=packs[0],
                calibration=calibration,
                loader=loader,
                engine=engine,
                batcher=batcher,
                shadow_pack=shadow_pack,
                shadow_batcher=apart,
            )
            judges = (judge, *(judge.with_policies(pack, shadow_pack) for pack in packs[1:]))
            for one in judges:
                await one.prepare()
            yield judges
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await engine.close()


def check_packs(
    settings: Settings, packs: tuple[PolicyPack, ...], shadow_pack: PolicyPack | None, calibration: Calibration
) -> None:
    """Raise Misconfigured for what would make every verdict a silent `allow`, or a calibration of nothing."""
    if not all(pack.enforced for pack in packs):
        msg = f"{settings.policies.path}: no policy has mode enforce, so every post would be allowed"
        raise Misconfigured(msg)
    known = {policy.id for pack in (*packs, shadow_pack) if pack for policy in pack.policies}
    unknown = calibration.policies.keys() - known
    if unknown and isinstance(settings.judging.calibration, Path):
        msg = f"judging.calibration {settings.judging.calibration}: no such policies: {', '.join(sorted(unknown))}"
        raise Misconfigured(msg)


def _warn_uncalibrated(settings: Settings, packs: tuple[PolicyPack, ...], calibration: Calibration) -> None:
    capped = {policy.id for pack in packs for policy in pack.enforced} - calibration.policies.keys()
    if capped and not settings.judging.block_uncalibrated:
        log.warning(
            "policies without a calibration only send to review; `moderation calibrate` makes one, or set"
            " judging.block_uncalibrated to let raw scores block",
            policies=sorted(capped),
        )


def engine_class(settings: Settings) -> Callable[[EngineSettings], CheckedEngine]:
    """The engine of the kind that is set; importing it takes seconds."""
    if settings.engine.kind == "openai":
        from moderation_service.engine.openai.engine import RemoteEngine  # noqa: PLC0415

        return RemoteEngine
    from moderation_service.engine.local.engine import LocalEngine  # noqa: PLC0415

    return LocalEngine
