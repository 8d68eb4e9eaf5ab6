"""Hot reload: changed policy files are held to all that the start asks of them, then taken between two posts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import structlog

from moderation_service.app.compose import check_packs
from moderation_service.errors import Misconfigured
from moderation_service.judging.judge import Judge
from moderation_service.policies.pack import PATH, SHADOW_PATH, PolicyPack
from moderation_service.policies.watch import next_change
from moderation_service.settings import Settings
from moderation_service.telemetry import audit, metrics

Tell = Callable[[audit.AuditEntry], Awaitable[None]]

log = structlog.get_logger(__name__)


@asynccontextmanager
async def reloading(
    settings: Settings, judge: Judge, take: Callable[[Judge], None], tell: Tell | None = None
) -> AsyncIterator[None]:
    """During the block `take` is handed a judge for every change of `policies.path` and `shadow_path` that is right.

    Then `tell` is handed the entry for the audit.
    """
    policies = settings.policies
    newest = _Newest(settings, judge, take, tell)
    watched = [(PATH, policies.path), (SHADOW_PATH, policies.shadow_path)]
    following = [
        asyncio.create_task(follow(setting, path, policies.reload_seconds, partial(newest.take_pack, setting)))
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
    """Take each change of the pack that `setting` names, or say once what is in its way and go on with the old one.

    What was refused is looked at again: an engine that was away, or the other pack, may have been in its way.
    Looks `every` so many seconds; with 0 never.
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
        except Exception as error:  # noqa: BLE001 - whatever it is, posts are judged by the old ones
            wrong = "; ".join(str(error).splitlines()) if isinstance(error, Misconfigured) else repr(error)
            if wrong != refused:
                metrics.POLICY_RELOADS.labels("refused").inc()
                log.error("policies refused, the old ones go on", setting=setting, error=wrong)  # noqa: TRY400
            known, refused = None, wrong


class _Newest:
    """The judge by the newest right policies."""

    def __init__(self, settings: Settings, judge: Judge, take: Callable[[Judge], None], tell: Tell | None) -> None:
        self._settings = settings
        self._judge = judge
        self._take = take
        self._tell = tell
        self._taking = asyncio.Lock()  # a change of one pack must not undo one of the other

    async def take_pack(self, setting: str, pack: PolicyPack) -> None:
        """Judge by it from the next post on. Raises Misconfigured for one that the start would refuse."""
        async with self._taking:
            await self._take_pack(setting, pack)

    async def _take_pack(self, setting: str, pack: PolicyPack) -> None:
        before = self._judge.pack if setting == PATH else self._judge.shadow_pack
        if pack == before:
            log.info("policies as before", setting=setting, digest=pack.digest)
            return
        packs = (pack, self._judge.shadow_pack) if setting == PATH else (self._judge.pack, pack)
        check_packs(self._settings, packs[:1], packs[1], self._judge.calibration)
        judge = self._judge.with_policies(*packs)
        await judge.prepare()
        self._judge = judge
        self._take(judge)
        metrics.POLICY_RELOADS.labels("taken").inc()
        digest_before = before and before.digest
        log.info("policies taken", setting=setting, digest=pack.digest, before=digest_before)
        if self._tell is not None:
            taken = audit.AuditEntry(
                actor=audit.process(),
                action="policies.taken",
                target=setting,
                before=digest_before,
                after=pack.digest,
            )
            await self._tell(taken)
