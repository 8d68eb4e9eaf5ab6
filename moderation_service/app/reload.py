"""Hot reload: a changed policy pack passes the checks of start-up, then judges from the next post on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import structlog

from moderation_service.app.child_safety import check_routes
from moderation_service.app.compose import check_packs
from moderation_service.errors import Misconfigured
from moderation_service.judging.judge import Judge
from moderation_service.policies.gate import check_gates
from moderation_service.policies.pack import PATH, SHADOW_PATH, PolicyPack
from moderation_service.policies.watch import next_change
from moderation_service.settings import Settings
from moderation_service.telemetry import audit, metrics

Emit = Callable[[audit.AuditEntry], Awaitable[None]]

log = structlog.get_logger(__name__)


@asynccontextmanager
async def reloading(
    settings: Settings, judge: Judge, take: Callable[[Judge], None], emit: Emit | None = None
) -> AsyncIterator[None]:
    """During the block, `take` gets a judge for every valid change of `policies.path` and `policies.shadow_path`.

    Then `emit` gets the audit entry.
    """
    policies = settings.policies
    reloader = _Reloader(settings, judge, take, emit)
    watched = [(PATH, policies.path), (SHADOW_PATH, policies.shadow_path)]
    following = [
        asyncio.create_task(follow(setting, path, policies.reload_seconds, partial(reloader.take_pack, setting)))
        for setting, path in watched
        if path
    ]
    try:
        yield
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)


async def follow(setting: str, path: Path, every: float, take: Callable[[PolicyPack], Awaitable[None]]) -> None:
    """Take each change of the pack that `setting` names; a wrong one is logged once, and the old one stays.

    A refused pack is retried: the cause may be an engine that was away, or the other pack. Looks `every` so many
    seconds; 0 means never.
    """
    known: str | None = None
    refused = ""
    while every:
        try:
            known, found = await next_change(path, known, every, setting)
            if isinstance(found, Misconfigured):
                raise found  # noqa: TRY301 - there is one way to be refused
            await take(found)
            refused = ""
        except Exception as error:  # noqa: BLE001 - whatever it is, posts are judged by the old policies
            wrong = "; ".join(str(error).splitlines()) if isinstance(error, Misconfigured) else repr(error)
            if wrong != refused:
                metrics.POLICY_RELOADS.labels("refused").inc()
                log.error("policies refused; the old ones stay in force", setting=setting, error=wrong)  # noqa: TRY400
            known, refused = None, wrong


class _Reloader:
    """Holds the judge by the newest valid packs."""

    def __init__(self, settings: Settings, judge: Judge, take: Callable[[Judge], None], emit: Emit | None) -> None:
        self._settings = settings
        self._judge = judge
        self._take = take
        self._emit = emit
        self._taking = asyncio.Lock()  # a change of one pack must not undo one of the other

    async def take_pack(self, setting: str, pack: PolicyPack) -> None:
        """Judge by it from the next post on. Raises Misconfigured for a pack that start-up would reject."""
        async with self._taking:
            before = self._judge.pack if setting == PATH else self._judge.shadow_pack
            if pack == before:
                log.info("policies unchanged", setting=setting, digest=pack.digest)
                return
            packs = (pack, self._judge.shadow_pack) if setting == PATH else (self._judge.pack, pack)
            check_packs(self._settings, packs[:1], packs[1], self._judge.calibration)
            check_routes(self._settings, packs[0])
            if setting == PATH:
                await asyncio.to_thread(check_gates, self._settings, pack, self._judge.model)
            judge = self._judge.with_policies(*packs)
            await judge.prepare()
            self._judge = judge
            self._take(judge)
            metrics.POLICY_RELOADS.labels("taken").inc()
            old = before and before.digest
            log.info("policies taken", setting=setting, digest=pack.digest, before=old)
            if self._emit is not None:
                actor = audit.process()
                entry = audit.AuditEntry(
                    actor=actor, action="policies.taken", target=setting, before=old, after=pack.digest
                )
                await self._emit(entry)
