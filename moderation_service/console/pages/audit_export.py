"""Exports of audits, from which every estimate can be computed by hand: contents with their answers, and strata."""

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from moderation_service.audits.audited import AuditedVerdict
from moderation_service.console.context import context_of
from moderation_service.console.store import audited
from moderation_service.contracts.base import utc_moment
from moderation_service.contracts.enums import AuditRound
from moderation_service.readers.bank_files import to_cell

_SPAN = timedelta(days=30)
_HEAD = ("verdict_id", "stratum", "probability", "copies", "language", "judged_at", "decision")
_POLICY = ("policy_id", "version", "score", "violated", "attribution")


async def rows_as_lines(request: Request) -> Response:
    """The answered contents, a line of JSON each."""
    found = await audited.audited(context_of(request).database, *_span(request))
    lines = "".join(json.dumps(_line(one), ensure_ascii=False) + "\n" for one in found)
    return _file(lines, "audits.jsonl", "application/x-ndjson")


async def rows_as_table(request: Request) -> Response:
    """The answered contents, a row for each policy that was judged or answered; a round without an answer is empty."""
    found = await audited.audited(context_of(request).database, *_span(request))
    rows = (row for one in found for row in _rows(one))
    return _file(_table((*_HEAD, *_POLICY, *AuditRound), rows), "audits.csv", "text/csv")


async def strata_as_table(request: Request) -> Response:
    """How many verdicts each stratum has, drawn or not."""
    sizes = await audited.population(context_of(request).database, *_span(request))
    rows = ((stratum.name, stratum.probability, size) for stratum, size in sizes.items())
    return _file(_table(("stratum", "probability", "verdicts"), rows), "strata.csv", "text/csv")


def _span(request: Request) -> tuple[datetime, datetime]:
    """The time of the address's `since` and `until`, in ISO 8601 and by UTC without an offset; the last 30 days."""
    query = request.query_params
    until = _moment(query["until"]) if query.get("until") else datetime.now(UTC)
    return _moment(query["since"]) if query.get("since") else until - _SPAN, until


def _moment(given: str) -> datetime:
    try:
        return utc_moment(given)
    except ValueError:
        raise HTTPException(400, "since and until should be as 2026-05-01 or 2026-05-01T12:00:00Z") from None


def _head(one: AuditedVerdict) -> tuple[object, ...]:
    stratum, judged_at = one.stratum, one.judged_at.isoformat()
    return one.verdict_id, stratum.name, stratum.probability, one.copies, one.language, judged_at, one.decision


def _line(one: AuditedVerdict) -> dict[str, object]:
    judged = {
        name: {
            "version": part.version,
            "score": part.score,
            "violated": part.violated,
            "attribution": part.attribution,
        }
        for name, part in one.policies.items()
    }
    answers = [{"round": said.round, "reviewer": said.reviewer, "violated": {**said.violated}} for said in one.answers]
    return {**dict(zip(_HEAD, _head(one), strict=True)), "policies": judged, "answers": answers}


def _rows(one: AuditedVerdict) -> Iterator[tuple[object, ...]]:
    said = {answer.round: answer.violated for answer in one.answers}
    for policy_id in sorted(one.policies.keys() | {name for violated in said.values() for name in violated}):
        part = one.policies.get(policy_id)
        judged = (part.version, part.score, _yes(part.violated), part.attribution) if part else ("", "", "", "")
        answers = (_yes(said[asked].get(policy_id)) if asked in said else "" for asked in AuditRound)
        yield (*_head(one), policy_id, *judged, *answers)


def _yes(violated: bool | None) -> str:  # noqa: FBT001 - the value of a cell
    return "" if violated is None else "yes" if violated else "no"


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    out = StringIO()
    writer = csv.writer(out)
    writer.writerow(head)
    writer.writerows([to_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return out.getvalue()


def _file(content: str, name: str, media_type: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=media_type, headers=headers)
