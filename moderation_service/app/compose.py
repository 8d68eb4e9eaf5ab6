"""Builds a judge with all its parts from the settings: engine, calibration, image loader, batchers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog

from moderation_service.app.child_safety import check_engine_is_trusted
from moderation_service.backoff import Backoff
from moderation_service.engine.base import Engine, EngineInfo
from moderation_service.engine.model_report import CheckedEngine
from moderation_service.errors import Fatal, Misconfigured, Unavailable
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.hma import open_hma
from moderation_service.judging.judge import Judge
from moderation_service.judging.shadow_model import ShadowModel
from moderation_service.judging.verdict_builder import model_metadata
from moderation_service.media.image_text import open_text_reader
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.pack import PolicyPack
from moderation_service.readers.bank_files import load_banks
from moderation_service.settings import DEMO_CALIBRATIONS, DEMO_MODEL, EngineSettings, Settings
from moderation_service.telemetry import metrics

LOAD_ATTEMPTS = 4  # of a load that fails; between them Prometheus has time to see it
BACKOFF = Backoff(first_s=5.0, longest_s=60.0, jitter=0.0)
CLOSE_S = 1.0
UNCALIBRATED = Calibration(None, {})

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_judge(
    settings: Settings,
    pack: PolicyPack,
    shadow_pack: PolicyPack | None = None,
    *,
    shadow_model: ShadowModel | None = None,
    startup_timeout_s: float = 0.0,
) -> AsyncIterator[Judge]:
    """A judge on a loaded, warm engine, with the banks of `banks.path`.

    Raises Fatal where the model does not load, the calibration does not fit, or a bank's file is wrong.
    """
    async with open_judges(
        settings, pack, shadow_pack=shadow_pack, shadow_model=shadow_model, startup_timeout_s=startup_timeout_s
    ) as (judge,):
        yield judge


@asynccontextmanager
async def open_judges(
    settings: Settings,
    *packs: PolicyPack,
    shadow_pack: PolicyPack | None = None,
    shadow_model: ShadowModel | None = None,
    startup_timeout_s: float = 0.0,
) -> AsyncIterator[tuple[Judge, ...]]:
    """A judge a pack, all on one engine and one loader. Raises as `open_judge`."""
    calibration = _configured_calibration(settings)
    check_packs(settings, packs, shadow_pack, calibration)
    banks = await asyncio.to_thread(load_banks, settings.banks.path)  # a million hashes take 20 seconds
    # On a thread: torch takes seconds to import, and the probes answer meanwhile.
    engine = (await asyncio.to_thread(engine_class, settings))(settings.engine)
    await start_engine(engine, startup_timeout_s)
    try:
        info = engine.info
        calibration = _fitting_calibration(settings, calibration, info)
        metrics.MODEL_INFO.labels(info.name, info.revision, info.dtype, info.layout).set(1)
        _warn_uncalibrated(settings, packs, calibration)
        log.info("model loaded", model=info.name, revision=info.revision, dtype=info.dtype, layout=info.layout)
        async with (
            ImageLoader(settings.media, keeps_bytes=settings.child_safety.hold_path is not None) as loader,
            open_text_reader(settings.media) as text_reader,
            open_hma(settings.banks) as hma,
            Batcher(engine, settings.engine) as batcher,
            Batcher(engine, settings.engine) as shadow_batcher,
        ):
            judge = Judge(
                settings=settings,
                pack=packs[0],
                calibration=calibration,
                loader=loader,
                engine=engine,
                batcher=batcher,
                shadow_pack=shadow_pack,
                shadow_batcher=shadow_batcher,
                shadow_model=shadow_model,
                banks=banks,
                text_reader=text_reader,
                hma=hma,
            )
            judges = (judge, *(judge.with_policies(pack, shadow_pack) for pack in packs[1:]))
            for one in judges:
                await one.prepare()
            yield judges
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await engine.close()


def engine_class(settings: Settings) -> Callable[[EngineSettings], CheckedEngine]:
    """The engine of the configured kind; importing it takes seconds.

    Raises Misconfigured where the extra `local` is missing.
    """
    if settings.engine.kind == "openai":
        from moderation_service.engine.openai.engine import RemoteEngine  # noqa: PLC0415

        return RemoteEngine
    try:
        from moderation_service.engine.local.engine import LocalEngine  # noqa: PLC0415
    except ModuleNotFoundError as error:
        msg = (
            f"engine.kind local: {error.name} is missing; pip install 'moderation-service[local]', or set engine.kind"
            " to openai and engine.base_url to a server's address"
        )
        raise Misconfigured(msg) from error

    return LocalEngine


async def start_engine(engine: Engine, startup_timeout_s: float = 0.0, backoff: Backoff = BACKOFF) -> None:
    """Start the engine. Waits up to `startup_timeout_s` for its server, and retries a failed load with backoff.

    With 0 nothing is retried. Raises Unavailable, Fatal, and Misconfigured at once: waiting mends no setting.
    """
    until, attempts, failed = time.monotonic() + startup_timeout_s, 0, 0
    while True:
        attempts += 1
        wait_s = backoff.delay_s(attempts)
        try:
            return await engine.start()
        except Unavailable as error:
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise
            wait_s = min(wait_s, left_s)
            log.warning("waiting for the engine's server", error=str(error), given_up_in_s=round(left_s))
        except Fatal as error:
            metrics.MODEL_LOAD_FAILURES.inc()
            failed += 1
            if isinstance(error, Misconfigured) or failed == LOAD_ATTEMPTS or not startup_timeout_s:
                raise
            log.warning("the model could not be loaded", error=str(error), attempts=failed, retry_in_s=wait_s)
        await backoff.sleep(wait_s)


def check_packs(
    settings: Settings, packs: tuple[PolicyPack, ...], shadow_pack: PolicyPack | None, calibration: Calibration
) -> None:
    """Raise Misconfigured for a pack that would allow every post or can't be trusted to this engine.

    The same for a calibration of unknown policies.
    """
    if not all(pack.enforced for pack in packs):
        msg = f"{settings.policies.path}: no policy has mode enforce, so every post would be allowed"
        raise Misconfigured(msg)
    language = settings.policies.language
    for pack in packs:
        if language not in {"auto", *pack.languages}:
            right = ", ".join(pack.languages)
            msg = f"policies.language: {language} is not a language of all policies; should be auto, or one of {right}"
            raise Misconfigured(msg)
    check_engine_is_trusted(settings, [pack for pack in (*packs, shadow_pack) if pack])
    known = {policy.id for pack in (*packs, shadow_pack) if pack for policy in pack.policies}
    unknown = calibration.policies.keys() - known
    if unknown and isinstance(settings.judging.calibration, Path):
        msg = f"judging.calibration {settings.judging.calibration}: no such policies: {', '.join(sorted(unknown))}"
        raise Misconfigured(msg)


def _configured_calibration(settings: Settings) -> Calibration:
    """The owner's calibration file, the bundled model's own, or none. Raises Misconfigured for a wrong file."""
    chosen = settings.judging.calibration
    if isinstance(chosen, Path):
        return Calibration.load(chosen)
    bundled = DEMO_CALIBRATIONS / f"{settings.engine.layout}.json"
    is_demo_model = Path(settings.engine.model).resolve() == DEMO_MODEL.resolve()
    return Calibration.load(bundled) if chosen == "own" and is_demo_model and bundled.is_file() else UNCALIBRATED


def _fitting_calibration(settings: Settings, calibration: Calibration, engine: EngineInfo) -> Calibration:
    """The calibration, if it was fitted on this model's scores; on others its probabilities would be wrong.

    Raises Misconfigured if the owner's file does not fit. The bundled model's own is left out instead.
    """
    # OCR adds words and changes no score of the same words, so what was fitted without it fits with it.
    without_ocr = settings.model_copy(update={"media": settings.media.model_copy(update={"ocr": "off"})})
    why = calibration.differs_from(model_metadata(engine, settings, None))
    if why is None or calibration.differs_from(model_metadata(engine, without_ocr, None)) is None:
        return calibration
    if isinstance(settings.judging.calibration, Path):
        msg = f"judging.calibration {settings.judging.calibration}: {why}"
        raise Misconfigured(msg)
    log.info("the bundled calibration does not fit this model; scores stay uncalibrated", why=why)
    return UNCALIBRATED


def _warn_uncalibrated(settings: Settings, packs: tuple[PolicyPack, ...], calibration: Calibration) -> None:
    capped = {policy.id for pack in packs for policy in pack.enforced} - calibration.policies.keys()
    if capped and not settings.judging.block_uncalibrated:
        log.warning(
            "policies without a calibration only send to review; `moderation calibrate` makes one, or set"
            " judging.block_uncalibrated to let raw scores block",
            policies=sorted(capped),
        )
