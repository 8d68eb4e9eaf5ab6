"""Banks of known content: what they match, what people added to them, and what of the past an entry matches."""

from contextlib import suppress
from datetime import UTC, datetime, time, timedelta

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from moderation_service.console.catalogues import MsgId
from moderation_service.console.context import context_of
from moderation_service.console.pages.render import NOTHING_CHANGED, page, translated
from moderation_service.console.pages.words import redacted_all
from moderation_service.console.store import bank_entries, match_back, verdicts
from moderation_service.console.store.bank_entries import AddedEntry, Refused, UnknownEntry
from moderation_service.console.store.bank_quality import LEAST, bank_quality
from moderation_service.contracts.bank import Bank, BankEntry
from moderation_service.telemetry import audit

DAYS = 30
_LISTED = 50
_KINDS = ("image_pdq", "image_sha256")
_REASON_WANTED = MsgId("Say in at most 1,000 characters why this picture belongs in the bank.")
_WRONG_DATE = MsgId("The expiry should be a day that is still to come.")


async def show(request: Request) -> Response:
    """All banks."""
    context = context_of(request)
    return page(
        request,
        "banks.html",
        banks=[loaded for loaded in context.banks if _is_shown(request, loaded.bank)],
        quality=await bank_quality(context.database, datetime.now(UTC) - timedelta(days=DAYS)),
        days=DAYS,
        least=LEAST,
    )


async def show_one(request: Request) -> Response:
    """A bank, and what people added to it last."""
    context, bank = context_of(request), _bank(request)
    entries = await bank_entries.recent(context.database, bank.name, _LISTED)
    said = await redacted_all(*(entry.reason for entry in entries))
    return page(
        request,
        "bank.html",
        bank=bank,
        count=len(context.banks[bank.name]),
        entries=list(zip(entries, said, strict=True)),
        can_change=_can_change(request),
    )


async def add(request: Request) -> Response:
    """Add an image of a verdict to a bank, and go on to the past posts that it matches."""
    context, user, form = context_of(request), request.state.session.user, await request.form()
    stored = await verdicts.by_id(context.database, request.path_params["verdict_id"])
    position, kind, reason = (str(form.get(name, "")).strip() for name in ("image", "kind", "reason"))
    if stored is None or not position.isdecimal() or len(position) > 4 or kind not in _KINDS:  # noqa: PLR2004
        raise HTTPException(404, "no such picture")
    try:
        bank = _changeable(request, str(form.get("bank", "")))
        value = bank_entries.image_value(stored.verdict, int(position), kind, bank)
    except Refused as refused:
        return _refused(request, refused.message)
    if not 1 <= len(reason) <= 1000:  # noqa: PLR2004 - the contract's
        return _refused(request, _REASON_WANTED)
    try:
        expires_at = _end_of(str(form.get("expires", "")))
        entry = BankEntry.model_validate(
            {"kind": kind, "value": value, "expires_at": expires_at, "source": user, "note": reason}
        )
    except (ValidationError, ValueError):
        return _refused(request, _WRONG_DATE)
    verdict_id = stored.verdict.verdict_id
    await bank_entries.add(context, bank, entry, actor=audit.reviewer(user), verdict_id=verdict_id)
    return RedirectResponse(f"/banks/{bank.name}/entries/{entry.id}", status_code=303)


async def show_entry(request: Request) -> Response:
    """An entry that was added here, and the past verdicts that it matches."""
    bank, entry = _bank(request), await _entry(request)
    (reason,) = await redacted_all(entry.reason)
    return page(
        request,
        "bank_entry.html",
        bank=bank,
        entry=entry,
        reason=reason,
        past=await match_back.find(context_of(request), bank, entry.kind, entry.value),
        most=match_back.MOST,
        can_change=_can_change(request),
    )


async def send_to_review(request: Request) -> Response:
    """Put the past verdicts that an entry matches into the queue."""
    context, entry, name = context_of(request), await _entry(request), request.path_params["bank"]
    bank = _bank(request)
    past = await match_back.find(context, bank, entry.kind, entry.value)
    seqs = [match.stored.seq for match in past if match.can_be_sent]
    actor = audit.reviewer(request.state.session.user)
    try:
        await match_back.send_to_review(context, bank, entry.entry_id, seqs, actor)
    except Refused as refused:
        return _refused(request, refused.message)
    return RedirectResponse(f"/banks/{name}/entries/{entry.entry_id}", status_code=303)


async def remove(request: Request) -> Response:
    """Remove an entry."""
    entry, actor = await _entry(request), audit.reviewer(request.state.session.user)
    try:
        bank = _changeable(request, entry.bank)
        await bank_entries.remove(context_of(request), bank, entry.entry_id, actor=actor)
    except Refused as refused:
        return _refused(request, refused.message)
    except UnknownEntry:
        raise HTTPException(404, "no such entry") from None
    return RedirectResponse(f"/banks/{bank.name}", status_code=303)


def _bank(request: Request) -> Bank:
    """The bank of the address. Raises HTTPException where there is none, or it is not shown to this reader."""
    try:
        bank = context_of(request).banks[request.path_params["bank"]].bank
    except KeyError:
        raise HTTPException(404, "no such bank") from None
    if not _is_shown(request, bank):
        raise HTTPException(404, "no such bank")
    return bank


def _changeable(request: Request, name: str) -> Bank:
    child_safety = "child_safety" in request.state.session.permissions
    try:
        return bank_entries.changeable(context_of(request), name, child_safety=child_safety)
    except UnknownEntry:
        raise HTTPException(404, "no such bank") from None


async def _entry(request: Request) -> AddedEntry:
    bank = _bank(request)
    entry = await bank_entries.one(context_of(request).database, bank.name, request.path_params["entry_id"])
    if entry is None:
        raise HTTPException(404, "no such entry")
    return entry


def choices(request: Request) -> list[str]:
    """The banks that this reader may add images to; none without the permission."""
    found = list[str]()
    for loaded in context_of(request).banks if _can_change(request) else ():
        with suppress(Refused, HTTPException):
            found.append(_changeable(request, loaded.bank.name).name)
    return found


def _is_shown(request: Request, bank: Bank) -> bool:
    return bank.route is None or "child_safety" in request.state.session.permissions


def _can_change(request: Request) -> bool:
    return "banks" in request.state.session.permissions


def _end_of(day: str) -> datetime | None:
    """The end of a day in UTC; None without one. Raises ValueError, also for one that is over."""
    if not day:
        return None
    end = datetime.combine(datetime.fromisoformat(day).date(), time.max, UTC)
    if end < datetime.now(UTC):
        raise ValueError(day)
    return end


def _refused(request: Request, why: MsgId) -> Response:
    return page(
        request, "error.html", status=422, title=translated(request, why), text=translated(request, NOTHING_CHANGED)
    )
