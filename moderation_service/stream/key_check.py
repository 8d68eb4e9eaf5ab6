"""Check that a record's key is its post id: a deletion by any other key erases nothing."""

import time
from collections.abc import Callable

import structlog

from moderation_service.contracts.registry_frame import unframed_key
from moderation_service.telemetry import metrics

_EVERY_S = 60.0
_log = structlog.get_logger(__name__)


class KeyCheck:
    """Counts posts that are keyed otherwise than by their post id, and logs the number of them once a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """None was seen yet."""
        self._clock = clock
        self._seen = 0
        self._next = float("-inf")

    def check(self, key: bytes | None, post_id: str) -> None:
        """Compare them. A post is judged in any case."""
        if key is None:
            metrics.MISMATCHED_KEYS.labels("absent").inc()
        elif unframed_key(key) != post_id.encode():
            metrics.MISMATCHED_KEYS.labels("other").inc()
            self._seen += 1
            if self._clock() >= self._next:
                self._next = self._clock() + _EVERY_S
                _log.warning(
                    "the record key is not the post id; a deletion by that key erases nothing, send it by the post id",
                    posts=self._seen,
                )
                self._seen = 0
