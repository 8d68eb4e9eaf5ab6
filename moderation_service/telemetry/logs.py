"""Structured logs on standard error: JSON lines, or colours on a terminal. Never the words of a post."""

import logging
import sys
from typing import TYPE_CHECKING

import structlog

from moderation_service.settings import LoggingSettings

if TYPE_CHECKING:
    from structlog.typing import Processor


def configure(settings: LoggingSettings) -> None:
    """Send structlog and the standard library's loggers through one pipeline to standard error."""
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="@timestamp"),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if as_json:
        last += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        # The plain formatter: rich's prints the variables of each frame, posts among them.
        plain = structlog.dev.plain_traceback
        last += [structlog.dev.ConsoleRenderer(timestamp_key="@timestamp", exception_formatter=plain)]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.level)
    for chatty in ("aiokafka", "transformers", "aiohttp.access", "urllib3"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
