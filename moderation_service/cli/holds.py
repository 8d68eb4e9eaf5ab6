"""`moderation holds`: people's access to the legal hold. Each command asks why, and is on the audit topic first."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import App, Parameter
from rich.table import Table

from moderation_service.child_safety.hold_access import HoldAccess
from moderation_service.child_safety.legal_hold import LegalHold
from moderation_service.child_safety.sealed_file import HoldError
from moderation_service.cli.common import PROBLEMS, SettingsFile, load, print_lines, show
from moderation_service.errors import Misconfigured
from moderation_service.kafka.topic_io import audit_record, publish
from moderation_service.telemetry.audit import AuditEntry, user

holds = App(name="holds", help="Look at, hand over, extend and purge the cases of the legal hold.")
Reason = Annotated[str, Parameter(help="Why, without describing the content; it goes on the audit topic.")]
T = TypeVar("T")


@holds.command(name="list")
def list_cases(*, reason: Reason, settings: SettingsFile = None) -> int:
    """List the cases: no post is opened. Exits 1 where a case can't be opened; it is named on standard error.

    Example: `moderation holds list --reason "weekly check"`
    """
    cases = _with_access(settings, lambda access: access.cases(reason))
    table = Table("case", "post", "revision", "seized at", "reported at", "held until", "files")
    for case in cases:
        if isinstance(case, HoldError):
            continue
        reported = f"{case.reported_at:%Y-%m-%d %H:%M}" if case.reported_at else ""
        seized = f"{case.seized_at:%Y-%m-%d %H:%M}"
        ids = (case.case_id, case.post_id, str(case.revision))
        table.add_row(*ids, seized, reported, str(case.hold_until), str(len(case.parts)))
    show(table)
    unopened = [str(case) for case in cases if isinstance(case, HoldError)]
    print_lines("not opened", unopened)
    return PROBLEMS if unopened else 0


@holds.command(name="show")
def show_case(case: str, /, *, reason: Reason, settings: SettingsFile = None) -> int:
    """Print a case as JSON: ids, times, and its files' names and digests. The post is not shown.

    Example: `moderation holds show CASE --reason "report 123"`
    """
    print(_with_access(settings, lambda access: access.case(case, reason)).model_dump_json(indent=2))
    return 0


@holds.command
def export(
    case: str, /, *, out: Annotated[Path, Parameter(alias="-o")], reason: Reason, settings: SettingsFile = None
) -> int:
    """Write a case in the clear into a new folder, with a draft of the CyberTipline report and a checklist.

    Nothing is sent. Whoever opens the folder may see the material.

    Example: `moderation holds export CASE -o case --reason "report to NCMEC"`
    """
    _with_access(settings, lambda access: access.export(case, out, reason))
    return 0


@holds.command
def extend(
    case: str,
    /,
    *,
    reason: Reason,
    until: Annotated[datetime | None, Parameter(help="The last day of the hold.")] = None,
    reported_at: Annotated[datetime | None, Parameter(help="When it was reported: the hold counts from then.")] = None,
    report_id: Annotated[str | None, Parameter(help="The report's number.")] = None,
    settings: SettingsFile = None,
) -> int:
    """Hold a case longer: until a day, or for `child_safety.hold_days` from its report. It is never shortened.

    Example: `moderation holds extend CASE --reported-at 2026-05-02 --report-id 123 --reason reported`
    """
    if until is None and reported_at is None:
        msg = "holds extend: name --until, or --reported-at"
        raise Misconfigured(msg)
    if reported_at and reported_at.tzinfo is None:
        reported_at = reported_at.replace(tzinfo=UTC)
    day = until.date() if until else None
    extended = _with_access(
        settings, lambda access: access.extend(case, reason, until=day, reported_at=reported_at, report_id=report_id)
    )
    print(f"{case}: held until {extended.hold_until}")
    return 0


@holds.command
def purge(*, reason: Reason, settings: SettingsFile = None) -> int:
    """Delete every case whose last day is past, and print their ids.

    Example: `moderation holds purge --reason "monthly purge"`
    """
    for case in _with_access(settings, lambda access: access.purge(reason)):
        print(case)
    return 0


def _with_access(toml: Path | None, use: Callable[[HoldAccess], Awaitable[T]]) -> T:
    """Open the hold for this user. Raises Misconfigured, and Fatal where the audit topic can't be written."""
    loaded = load(toml)
    hold = LegalHold(loaded.child_safety)

    async def emit(entry: AuditEntry) -> None:
        await publish(loaded.kafka, [audit_record(loaded.kafka, entry)])

    async def run() -> T:
        return await use(HoldAccess(hold, user(), emit))

    try:
        return asyncio.run(run())
    except HoldError as error:
        raise Misconfigured(str(error)) from None
