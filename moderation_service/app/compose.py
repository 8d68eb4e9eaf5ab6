"""A judge with all its parts, from the settings."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import product

import structlog

from moderation_service.contracts.question import Language
from moderation_service.engine.base import Engine
from moderation_service.errors import Fatal, Misconfigured
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.judge import Judge
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.model import Mode
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import EngineSettings, Settings
from moderation_service.telemetry import metrics

CLOSE_S = 1.0
LANGUAGES: tuple[Language, ...] = ("en", "zh")
MODES: tuple[Mode, ...] = ("enforce", "shadow")

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_judge(settings: Settings, pack: PolicyPack) -> AsyncIterator[Judge]:
    """A judge on a loaded, warm engine. Raises Fatal where the model or a calibration that fits can't be had."""
    async with open_judges(settings, pack) as (judge,):
        yield judge


@asynccontextmanager
async def open_judges(settings: Settings, *packs: PolicyPack) -> AsyncIterator[tuple[Judge, ...]]:
    """A judge a pack, all on one engine and one loader. Raises as `open_judge`."""
    calibration = Calibration.load(settings.judging.calibration)
    _check_packs(settings, packs, calibration)
    # torch takes seconds to import: the probes are to answer meanwhile, and commands that judge nothing do without.
    engine: Engine = (await asyncio.to_thread(_engine_class, settings))(settings.engine)
    try:
        await engine.start()
        languages = LANGUAGES if settings.policies.language == "auto" else (settings.policies.language,)
        for pack, language, mode in product(packs, languages, MODES):
            questionnaire = pack.questionnaire(language, mode)
            if questionnaire.questions:
                await engine.prepare(questionnaire)
    except Fatal:
        metrics.MODEL_LOAD_FAILURES.inc()
        raise
    try:
        info = engine.info
        metrics.MODEL_INFO.labels(info.name, info.revision, info.dtype, info.layout).set(1)
        log.info("model loaded", model=info.name, revision=info.revision, dtype=info.dtype, layout=info.layout)
        async with ImageLoader(settings.media) as loader, Batcher(engine) as batcher:
            judges = tuple(
                Judge(
                    settings=settings,
                    pack=pack,
                    calibration=calibration,
                    loader=loader,
                    engine=engine,
                    batcher=batcher,
                )
                for pack in packs
            )
            _check_fit(settings, judges[0], calibration)
            yield judges
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await engine.close()


def _check_packs(settings: Settings, packs: tuple[PolicyPack, ...], calibration: Calibration) -> None:
    """Raise Misconfigured for what would make every verdict a silent `allow`, or a calibration of nothing."""
    if not all(pack.enforced for pack in packs):
        msg = f"{settings.policies.path}: no policy has mode enforce, so every post would be allowed"
        raise Misconfigured(msg)
    unknown = calibration.policies.keys() - {policy.id for pack in packs for policy in pack.policies}
    if unknown:
        msg = f"judging.calibration {settings.judging.calibration}: no such policies: {', '.join(sorted(unknown))}"
        raise Misconfigured(msg)


def _check_fit(settings: Settings, judge: Judge, calibration: Calibration) -> None:
    """Raise Misconfigured for a calibration of other scores than this model's: its probabilities would be wrong."""
    if why := calibration.differs_from(judge.model.revision, judge.model.prompt_digest):
        msg = f"judging.calibration {settings.judging.calibration}: {why}"
        raise Misconfigured(msg)


def _engine_class(settings: Settings) -> Callable[[EngineSettings], Engine]:
    if settings.engine.kind == "openai":
        msg = "engine.kind openai: not in this version; use local"
        raise Misconfigured(msg)
    from moderation_service.engine.local import LocalEngine  # noqa: PLC0415

    return LocalEngine
