"""What every page and every call of the API shares: settings, database, policies, judge, limits."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from cachetools import TTLCache
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from starlette.requests import HTTPConnection

from moderation_service.banks.matcher import BankMatcher
from moderation_service.child_safety.legal_hold import LegalHold
from moderation_service.console.catalogues import Catalogues, shipped_catalogues
from moderation_service.judging.judge import Judge
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import Settings


class ConcurrencyLimit:
    """A semaphore that nobody waits at: `count` in all, and `per_key` of one key."""

    def __init__(self, count: int, per_key: int | None = None) -> None:
        self._free = count
        self._per_key = count if per_key is None else per_key
        self._held = Counter[str]()

    @contextmanager
    def take(self, most: int = 1, *, key: str = "") -> Iterator[int]:
        """Take up to `most`, as far as they are free, until the block is left; gives how many, which may be none."""
        taken = max(0, min(most, self._free, self._per_key - self._held[key]))
        self._free -= taken
        self._held[key] += taken
        try:
            yield taken
        finally:
            self._free += taken
            self._held[key] -= taken
            if not self._held[key]:
                del self._held[key]


@dataclass(eq=False)
class ConsoleContext:
    """Made once by the composition root, which replaces `pack`, `judge` and `banks` when they change.

    `judge` is None if `console.judging_backend` is off, and until the model is loaded.
    """

    settings: Settings
    database: AsyncEngine
    pack: PolicyPack
    judge: Judge | None = None
    legal_hold: LegalHold | None = None  # of posts with a route, where the console has it
    banks: BankMatcher = field(default_factory=BankMatcher)  # the judge's, or followed without one
    catalogues: Catalogues = field(default_factory=shipped_catalogues)  # the pages' languages
    outbox_changed: asyncio.Event = field(default_factory=asyncio.Event)  # wakes the outbox's sender
    held: set[str] = field(default_factory=set)  # what parts wait for, as "ingest: Kafka does not answer"
    # past verdicts by what was looked for: the newest that was looked at, and what was found
    past_images: TTLCache[Hashable, tuple[tuple[int, str], Sequence[Any]]] = field(
        default_factory=lambda: TTLCache(64, 600)
    )
    slots: ConcurrencyLimit = field(init=False)  # posts being judged for callers
    bodies: ConcurrencyLimit = field(init=False)  # bodies being read from callers, who may be slow

    def __post_init__(self) -> None:
        """The limits follow from the settings."""
        most = self.settings.console.max_in_flight
        self.slots, self.bodies = ConcurrencyLimit(most), ConcurrencyLimit(2 * most, per_key=most)

    @property
    def judges(self) -> bool:
        """Whether posts are judged here, now or once the model is loaded."""
        return self.judge is not None or self.settings.console.judging_backend != "off"

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that adds to the outbox; once it is through, the sender is woken."""
        async with self.database.begin() as connection:
            yield connection
        self.outbox_changed.set()

    def hold(self, part: str, why: str | None) -> bool:
        """Note what a part waits for, or None if it waits no more; returns whether that begins or ends its waiting."""
        before = {one for one in self.held if one.startswith(f"{part}: ")}
        self.held -= before
        if why is not None:
            self.held.add(f"{part}: {why}")
        return bool(before) != (why is not None)


def context_of(request: HTTPConnection) -> ConsoleContext:
    """The context of the console that answers this request."""
    context: ConsoleContext = request.app.state.context
    return context
