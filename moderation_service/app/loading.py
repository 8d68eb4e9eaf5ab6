"""The engine's start: a server that is not there yet is waited for, a load that fails is tried again a few times."""

import asyncio
import time

import structlog

from moderation_service.engine.base import Engine
from moderation_service.errors import Fatal, Misconfigured, Unavailable
from moderation_service.telemetry import metrics

TRIES = 4  # of a load that fails; in between Prometheus has time to see it
FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 60.0

log = structlog.get_logger(__name__)


async def load(engine: Engine, startup_timeout_s: float = 0.0) -> None:
    """Start the engine. Waits `startup_timeout_s` for a server that is not there yet, and says so once a minute.

    With 0 nothing is tried again. Raises Unavailable, Fatal, and at once Misconfigured, for time mends no setting.
    """
    until, wait_s, failed = time.monotonic() + startup_timeout_s, FIRST_WAIT_S, 0
    while True:
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
            if isinstance(error, Misconfigured) or failed == TRIES or not startup_timeout_s:
                raise
            log.warning("the model could not be loaded", error=str(error), tries=failed, again_in_s=wait_s)
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, LONGEST_WAIT_S)
