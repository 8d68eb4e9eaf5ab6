"""Which calibration a judge uses: the owner's file, the bundled model's own, or none."""

from pathlib import Path

import structlog

from moderation_service.engine.base import EngineInfo
from moderation_service.errors import Misconfigured
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.verdict_builder import model_metadata
from moderation_service.settings import DEMO_CALIBRATIONS, DEMO_MODEL, Settings

log = structlog.get_logger(__name__)

NONE = Calibration(None, {})


def named(settings: Settings) -> Calibration:
    """The calibration that the settings name, before it is known what the engine asks.

    Raises Misconfigured, naming file and field, for a file that is wrong.
    """
    chosen = settings.judging.calibration
    if chosen == "none":
        return NONE
    if isinstance(chosen, Path):
        return Calibration.load(chosen)
    kept = DEMO_CALIBRATIONS / f"{settings.engine.layout}.json"
    bundled = Path(settings.engine.model).resolve() == DEMO_MODEL.resolve()
    return Calibration.load(kept) if bundled and kept.is_file() else NONE


def fitting(settings: Settings, calibration: Calibration, engine: EngineInfo) -> Calibration:
    """The calibration, where it was fitted on this model's scores: of others its probabilities would be wrong.

    Raises Misconfigured where it is the owner's and does not fit; the bundled model's own is left out instead.
    """
    why = calibration.differs_from(model_metadata(engine, settings, None))
    if why is None:
        return calibration
    if isinstance(settings.judging.calibration, Path):
        msg = f"judging.calibration {settings.judging.calibration}: {why}"
        raise Misconfigured(msg)
    log.info("scores stay as they are: the bundled calibration is of other prompts", why=why)
    return NONE
