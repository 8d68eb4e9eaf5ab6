"""Leave a server alone that fails again and again, and find out with one call whether it is back."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from moderation_service.errors import Transient

FAILURES = 5
"""In a row, over all calls at once: one bad server of many behind an address does not open the breaker."""

COOL_DOWN_S = 5.0

log = structlog.get_logger(__name__)


class ServerFailed(Transient):
    """The server is away, broken or talks nonsense; `wait_s` is how long it asks to be left alone, if it says so."""

    def __init__(self, reason: str, message: str, wait_s: float | None = None) -> None:
        super().__init__(reason, message)
        self.wait_s = wait_s


class CircuitBreaker:
    """Open after FAILURES failures in a row: calls fail at once. After a cool-down one call is let through to try."""

    def __init__(self, *, cool_down_s: float = COOL_DOWN_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._cool_down_s = cool_down_s
        self._clock = clock
        self._failed = 0
        self._failed_at = 0.0
        self._trying = False

    @contextmanager
    def call(self, *, probe: bool = False) -> Iterator[None]:
        """Make a call inside. Raises Transient, `circuit_open`, where it is not to be made; a probe always is.

        ServerFailed counts against the server; whatever else comes back shows that it is there.
        """
        trial = not probe and self._admit()
        try:
            yield
        except ServerFailed:
            self._fail()
            raise
        except Exception:
            self._succeed()
            raise
        else:
            self._succeed()
        finally:  # a call that is cancelled says nothing of the server, and lets another try
            if trial:
                self._trying = False

    def _admit(self) -> bool:
        """Whether the call is the trial of an open breaker."""
        if self._failed < FAILURES:
            return False
        if self._trying or self._clock() < self._failed_at + self._cool_down_s:
            reason = "circuit_open"
            raise Transient(reason, f"the engine's server failed {self._failed} times in a row and is left alone")
        self._trying = True
        return True

    def _fail(self) -> None:
        self._failed += 1
        self._failed_at = self._clock()
        if self._failed == FAILURES:
            log.warning("the engine's server is left alone", failures=self._failed, cool_down_s=self._cool_down_s)

    def _succeed(self) -> None:
        if self._failed >= FAILURES:
            log.info("the engine's server is back")
        self._failed = 0
