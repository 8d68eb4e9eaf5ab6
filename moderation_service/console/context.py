"""What every page and every call of the API has at hand."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import HTTPConnection

from moderation_service.console.concurrency_limit import ConcurrencyLimit
from moderation_service.judging.judge import Judge
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import Settings


@dataclass(eq=False)
class ConsoleContext:
    """Made once by the composition root, which alone replaces `judge`, by one with newer policies.

    `judge` is None where `console.judging_backend` is off, and until the model is loaded. `held` says what is away,
    and holds nothing up but itself.
    """

    settings: Settings
    database: AsyncEngine
    pack: Callable[[], PolicyPack]  # the active one, which may be reloaded
    judge: Judge | None = None
    put_in_outbox: asyncio.Event = field(default_factory=asyncio.Event)  # set by whoever adds to it; the sender waits
    held: set[str] = field(default_factory=set)  # such as "ingest: Kafka does not answer"
    seats: ConcurrencyLimit = field(init=False)  # of posts that are judged for callers
    bodies: ConcurrencyLimit = field(init=False)  # of posts being read from callers, who may be slow

    @property
    def judges(self) -> bool:
        """Whether posts are judged here, now or once the model is loaded."""
        return self.judge is not None or self.settings.console.judging_backend != "off"

    def __post_init__(self) -> None:
        """As many as the settings say."""
        most = self.settings.console.max_in_flight
        self.seats, self.bodies = ConcurrencyLimit(most), ConcurrencyLimit(2 * most, per_key=most)


def parts_of(request: HTTPConnection) -> ConsoleContext:
    """The parts of the console that answers this request."""
    parts: ConsoleContext = request.app.state.parts
    return parts
