"""Audited access of people to the legal hold: the audit entry is on record before anything is opened or changed."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from moderation_service.child_safety.hand_over import write_package
from moderation_service.child_safety.legal_hold import HeldCase, LegalHold
from moderation_service.child_safety.sealed_file import HoldError
from moderation_service.telemetry.audit import Action, AuditEntry


@dataclass(frozen=True, slots=True)
class HoldAccess:
    """One person's access. `emit` must raise where it can't put an entry on record: then there is no access.

    Every method takes the `reason`, which should not describe the content. All raise HoldError and OSError.
    """

    hold: LegalHold
    actor: str
    emit: Callable[[AuditEntry], Awaitable[None]]

    async def cases(self, reason: str) -> list[HeldCase | HoldError]:
        """All cases, without the posts; in place of one that can't be opened, why."""
        await self._record("legal_hold.listed", "legal_hold", reason)
        return await asyncio.to_thread(lambda: list(self.hold.cases()))

    async def case(self, case_id: str, reason: str) -> HeldCase:
        """One case, without the post."""
        await self._record("legal_hold.listed", case_id, reason)
        return await asyncio.to_thread(self.hold.case, case_id)

    async def read(self, case_id: str, reason: str) -> dict[str, bytes]:
        """The files of a case, as they came."""
        await self._record("legal_hold.read", case_id, reason)
        return await asyncio.to_thread(self.hold.read, case_id)

    async def export(self, case_id: str, folder: Path, reason: str) -> None:
        """Write the package that hands the case over; see `write_package`."""
        await self._record("legal_hold.exported", case_id, reason)
        case = await asyncio.to_thread(self.hold.case, case_id)
        parts = await asyncio.to_thread(self.hold.read, case_id)
        await asyncio.to_thread(write_package, case, parts, folder)

    async def extend(
        self,
        case_id: str,
        reason: str,
        *,
        until: date | None = None,
        reported_at: datetime | None = None,
        report_id: str | None = None,
    ) -> HeldCase:
        """Hold a case longer; see `LegalHold.extend`."""
        details = {"until": until, "reported_at": reported_at, "report_id": report_id}
        await self._record("legal_hold.extended", case_id, reason, **{k: str(v) for k, v in details.items() if v})
        return await asyncio.to_thread(
            self.hold.extend, case_id, until=until, reported_at=reported_at, report_id=report_id
        )

    async def purge(self, reason: str, today: date | None = None) -> list[str]:
        """Delete the cases whose last day is past, and name them."""
        today = today or datetime.now(UTC).date()
        past = await asyncio.to_thread(self.hold.past_cases, today)
        for case_id in past:
            await self._record("legal_hold.purged", case_id, reason)
            await asyncio.to_thread(self.hold.purge, case_id, today)
        await asyncio.to_thread(self.hold.sweep)
        return past

    async def _record(self, action: Action, target: str, reason: str, **details: str) -> None:
        await self.emit(
            AuditEntry(actor=self.actor, action=action, target=target, details={"reason": reason, **details})
        )
