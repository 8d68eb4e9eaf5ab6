"""The model's load at the start: what fails is counted, and tried again while Prometheus has time to see it."""

import asyncio

import structlog

from moderation_service.engine.base import Engine
from moderation_service.errors import Fatal, Misconfigured
from moderation_service.telemetry import metrics

FIRST_WAIT_S = 5.0

log = structlog.get_logger(__name__)


async def load(engine: Engine, attempts: int) -> None:
    """Start the engine, in up to `attempts` tries. Raises Fatal; Misconfigured at once, for time mends no setting."""
    for attempt in range(1, attempts + 1):
        try:
            await engine.start()
        except Fatal as error:
            metrics.MODEL_LOAD_FAILURES.inc()
            if isinstance(error, Misconfigured) or attempt == attempts:
                raise
            wait_s = FIRST_WAIT_S * 2 ** (attempt - 1)
            log.warning("the model could not be loaded", error=str(error), tries=attempt, again_in_s=wait_s)
            await asyncio.sleep(wait_s)
        else:
            return
