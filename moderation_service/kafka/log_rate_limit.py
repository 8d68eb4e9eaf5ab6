"""aiokafka logs every try while a broker is away, many a second: one line a kind in ten seconds is enough."""

import logging
import time

_EVERY_S = 10.0
_LOGGERS = (
    "aiokafka",
    "aiokafka.cluster",
    "aiokafka.conn",
    "aiokafka.consumer.consumer",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
    "aiokafka.producer.producer",
    "aiokafka.producer.sender",
)


class _Sparing(logging.Filter):
    """Lets a message pass that was not logged lately, whatever its arguments; says how many it kept back."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        now, kind = time.monotonic(), str(record.msg)
        last, kept_back = self._last.get(kind, (-_EVERY_S, 0))
        if now - last < _EVERY_S:
            self._last[kind] = last, kept_back + 1
            return False
        self._last[kind] = now, 0
        if kept_back:
            record.msg = f"{record.getMessage()} ({kept_back} more like it)"
            record.args = ()
        return True


def spare_logs() -> None:
    """Thin out aiokafka's warnings and errors, once for the process."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(present, _Sparing) for present in logger.filters):
            logger.addFilter(_Sparing())
