"""Circuit breaker on the dead-letter ratio: many at once are a producer's fault, or ours, so intake pauses."""

import time
from collections import deque
from collections.abc import Callable

import structlog

from moderation_service.settings import KafkaSettings
from moderation_service.telemetry import metrics

_log = structlog.get_logger(__name__)


class DeadLetterBreaker:
    """Open for a while where more than a share of the last records became dead letters; then it looks at new ones.

    Nothing is dropped: what is in flight goes on, what waits stays in Kafka.
    """

    def __init__(self, settings: KafkaSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """Closed, and nothing seen."""
        self._most = settings.dlq_breaker_ratio * settings.dlq_breaker_window
        self._pause_s = settings.dlq_breaker_pause_s
        self._clock = clock
        self._last: deque[bool] = deque(maxlen=settings.dlq_breaker_window)
        self._dead = 0
        self._until = float("-inf")

    @property
    def is_open(self) -> bool:
        """Whether nothing more is to be taken in."""
        return self._clock() < self._until

    def saw(self, *, dead_letter: bool) -> None:
        """A record was finished."""
        if self.is_open:
            return
        if len(self._last) == self._last.maxlen:
            self._dead -= self._last[0]
        self._last.append(dead_letter)
        self._dead += dead_letter
        if len(self._last) == self._last.maxlen and self._dead > self._most:
            _log.error(
                "too many dead letters; admission pauses",
                dead_letters=self._dead,
                of_records=len(self._last),
                seconds=self._pause_s,
            )
            metrics.DEAD_LETTER_PAUSES.inc()
            self._until = self._clock() + self._pause_s
            self._last.clear()
            self._dead = 0
