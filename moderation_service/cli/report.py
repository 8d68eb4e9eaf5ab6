"""`moderation report`: what the law asks a platform to publish, from the console's database."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from moderation_service.cli.common import SettingsFile, load
from moderation_service.console.store.audited import audited, population
from moderation_service.console.store.database import own_database
from moderation_service.console.transparency import figures, files
from moderation_service.console.transparency.accuracy import accuracies
from moderation_service.console.transparency.figures import Period
from moderation_service.console.transparency.tables import TransparencyReport
from moderation_service.errors import Misconfigured
from moderation_service.policies.pack import load_pack
from moderation_service.settings import Settings

report = App(name="report", help="Reports that the law asks for.")


@report.command
def dsa(
    *,
    first: Annotated[date, Parameter(name="--from", help="The period's first day, in UTC.")],
    last: Annotated[date, Parameter(name="--to", help="Its last day.")],
    out: Annotated[Path, Parameter(alias="-o", help="A folder, made if need be.")],
    service: Annotated[str, Parameter(help="Your service's name, for the column Service.")] = "",
    settings: SettingsFile = None,
) -> int:
    """Write a draft of the EU DSA's transparency report: CSV in the Commission's layout, a page, and what is left open.

    Example: `moderation report dsa --from 2026-01-01 --to 2026-06-30 --service Example -o report/`
    """
    loaded = load(settings)
    period = _period(first, last, loaded)
    if out.exists() and not out.is_dir():
        msg = f"--out {out}: is a file; name a folder"
        raise Misconfigured(msg)
    for path in files.write(asyncio.run(_counted(loaded, period, service)), out):
        print(path)
    return 0


async def _counted(settings: Settings, period: Period, service: str) -> TransparencyReport:
    pack = load_pack(settings.policies.path, images=False)
    async with own_database(settings) as database:
        found = await figures.count(database, period, pack)
        audits = await audited(database, period.start, period.end), await population(database, period.start, period.end)
        languages = await figures.sampled_languages(database, period)
        return TransparencyReport(service, period, found, accuracies(*audits, languages), pack)


def _period(first: date, last: date, settings: Settings) -> Period:
    """Raise Misconfigured for a period that is not over, or whose verdicts may be deleted by now."""
    period, now, days = Period(first, last), datetime.now(UTC), settings.console.retention_days
    if last < first:
        msg = f"--to {last}: is before --from {first}; name the period's last day"
        raise Misconfigured(msg)
    if period.end > now:
        msg = f"--to {last}: that day is not over in UTC; name an earlier one"
        raise Misconfigured(msg)
    if period.start < now - timedelta(days=days):
        kept = (now - timedelta(days=days - 1)).date()
        msg = (
            f"--from {first}: verdicts are kept for {days} days (console.retention_days); name {kept} or later. For"
            " a longer period raise that setting before it starts"
        )
        raise Misconfigured(msg)
    return period
