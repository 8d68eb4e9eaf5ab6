"""Structured logs on standard error: JSON lines, or colours on a terminal. Never the words of a post.

JSON lines have the field names of the Elastic Common Schema, and none that is an object there and a word here: ELK
takes them as they are.
"""

import logging
import os
import sys
import threading
from typing import TYPE_CHECKING

import structlog

from moderation_service import __version__
from moderation_service.contracts.enums import Decision
from moderation_service.settings import LoggingSettings

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

_ECS = {
    "event": "message",
    "level": "log.level",
    "logger": "log.logger",
    "error": "error.message",
    "exception": "error.stack_trace",
    "stack": "error.stack_trace",
}
_ALWAYS = {"ecs.version": "8.11.0", "service.name": "moderation-service", "service.version": __version__}
_TRACE_WORDS = 2**32  # of a trace id's last eight digits, which are random
_writing = threading.Lock()


def configure(settings: LoggingSettings) -> None:
    """Send structlog and the standard library's loggers through the same steps to standard error.

    Only the latter go through `logging`: on that way a line costs three times as much.
    """
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    sampled: list[Processor] = [_sampling(settings.allow_sample)] if settings.allow_sample < 1 else []
    first: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="@timestamp"),
    ]
    last: list[Processor]
    if as_json:
        last = [structlog.processors.format_exc_info, _as_ecs, structlog.processors.JSONRenderer()]
    else:
        # The plain formatter: rich's prints the variables of each frame, posts among them.
        plain = structlog.dev.plain_traceback
        colours = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"  # https://no-color.org
        last = [structlog.dev.ConsoleRenderer(colors=colours, timestamp_key="@timestamp", exception_formatter=plain)]
    structlog.configure(
        processors=[*sampled, *first, *last],
        logger_factory=_Lines,
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    unwrapped = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=first, processors=[unwrapped, *last]))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.level)
    for chatty in (
        "aiokafka",
        "transformers",
        "aiohttp.access",
        "alembic",
        "urllib3",
        "uvicorn",
        "PIL",
    ):  # the last names what an image holds
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))


def _sampling(share: float) -> "Processor":
    """Lets through a share of the lines of allowed posts; by the trace's id, so that a trace is whole or not there."""

    def kept(_: object, __: str, line: "EventDict") -> "EventDict":
        allowed = line["event"] == "post" and line.get("decision") == Decision.ALLOW
        if allowed and int(line["trace.id"][-8:], 16) >= share * _TRACE_WORDS:
            raise structlog.DropEvent
        return line

    return kept


def _as_ecs(_: object, __: str, line: "EventDict") -> "EventDict":
    return {**{_ECS.get(name, name): value for name, value in line.items()}, **_ALWAYS}


class _Lines:
    """A structlog logger's way out: whole lines."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name

    def info(self, line: str) -> None:
        with _writing:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    debug = warning = error = critical = info
