"""`/v1/banks`: banks of known content, entries that are added and removed, and what of the past they match."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Self

from pydantic import BaseModel, Field, ValidationError, model_validator
from starlette.responses import Response

from moderation_service.banks.loaded_bank import check_entry
from moderation_service.console.api.bodies import refused
from moderation_service.console.api.operation import Call
from moderation_service.console.api.problems import Problem
from moderation_service.console.store import bank_entries, match_back, verdicts
from moderation_service.console.store.bank_entries import AddedEntry, Refused, UnknownEntry
from moderation_service.console.store.bank_quality import bank_quality
from moderation_service.contracts.bank import MAX_VALUE, Bank, BankEntry, EntryKind
from moderation_service.contracts.base import Contract, Digest, Identifier, Moment
from moderation_service.contracts.enums import Decision

_QUALITY = timedelta(days=30)


class BankPrecision(BaseModel):
    """The share of matches that people agreed with, with Wilson's interval of 95%, among `reviews` decisions."""

    precision: float
    low: float
    high: float
    reviews: int


class ListedBank(BaseModel):
    """A bank as this console has it. Matches and reviews are of the last 30 days; null: there are too few reviews."""

    properties: Bank
    digest: Digest
    entries: int
    matches: int
    false_matches: int
    precision: BankPrecision | None


class BankList(BaseModel):
    """All banks, by name."""

    banks: list[ListedBank]


class EntryRequest(Contract):
    """An entry: its `value`, or the hash of image number `image` (from 0) of a verdict. `reviewer`: who adds it."""

    kind: EntryKind
    value: Annotated[str, Field(min_length=1, max_length=MAX_VALUE)] | None = None
    verdict_id: Identifier | None = None
    image: Annotated[int, Field(ge=0, le=9999)] = 0
    reason: Annotated[str, Field(min_length=1, max_length=1000)]
    expires_at: Moment | None = None
    reviewer: Annotated[str, Field(min_length=1, max_length=128)] | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.value is None) == (self.verdict_id is None):
            msg = "should have a value or a verdict_id, and not both"
            raise ValueError(msg)
        if self.verdict_id is not None and not self.kind.startswith("image_"):
            msg = "a verdict_id goes with image_pdq and image_sha256"
            raise ValueError(msg)
        return self


class PastVerdict(BaseModel):
    """A past verdict that the entry matches; `image`: which, where it is one. `sendable`: it can go to review."""

    verdict_id: Identifier
    post_id: Identifier
    decision: Decision
    image: int | None
    distance: int | None
    decided: bool
    sendable: bool


class PastMatches(BaseModel):
    """The newest 200, the newest first."""

    matches: list[PastVerdict]


class Sent(BaseModel):
    """How many verdicts were put into the review queue."""

    sent: int


async def listed(call: Call) -> Response:
    """List the banks, with what they match and how often people agree."""
    quality = await bank_quality(call.context.database, datetime.now(UTC) - _QUALITY)
    found = list[ListedBank]()
    for loaded in call.context.banks:
        if loaded.bank.route and not call.key.may("child_safety"):
            continue
        name, reviewed, told = loaded.bank.name, quality.agreed.get(loaded.bank.name), None
        if counted := quality.precision(name):
            low, high = counted.interval
            told = BankPrecision(precision=counted.share, low=low, high=high, reviews=counted.of)
        found.append(
            ListedBank(
                properties=loaded.bank,
                digest=loaded.digest,
                entries=len(loaded),
                matches=quality.matches.get(name, 0),
                false_matches=reviewed.of - reviewed.yes if reviewed else 0,
                precision=told,
            )
        )
    return Response(BankList(banks=found).model_dump_json(), media_type="application/json")


async def add(call: Call) -> Response:
    """Add an entry to a bank of the topic. Workers match it some seconds later."""
    asked: EntryRequest = call.body
    bank, value = _changeable(call), asked.value
    if asked.verdict_id is not None:
        stored = await verdicts.by_id(call.context.database, asked.verdict_id)
        if stored is None:
            raise Problem("not_found", "there is no verdict with this id")
        try:
            value = bank_entries.image_value(stored.verdict, asked.image, asked.kind, bank)
        except Refused as why:
            raise Problem("wrong_fields", f"image: {why}") from None
    actor = call.actor(asked.reviewer)
    try:
        entry = BankEntry.model_validate(
            {
                "kind": asked.kind,
                "value": value,
                "expires_at": asked.expires_at,
                "source": actor,
                "note": asked.reason,
            }
        )
        check_entry(entry)
    except ValidationError as error:
        raise refused(error) from None
    except ValueError as error:
        raise Problem("wrong_fields", f"value: {error}") from None
    await bank_entries.add(call.context, bank, entry, actor=actor, verdict_id=asked.verdict_id)
    return Response(entry.model_dump_json(), 201, media_type="application/json")


async def remove(call: Call) -> Response:
    """Remove an entry from a bank of the topic. Workers match it no more some seconds later."""
    bank, entry_id = _changeable(call), call.request.path_params["entry_id"]
    try:
        await bank_entries.remove(call.context, bank, entry_id, actor=call.actor())
    except UnknownEntry:
        raise Problem("not_found", "the bank has no entry with this id") from None
    return Response(status_code=204)


async def past_matches(call: Call) -> Response:
    """List past verdicts that match an entry. The entry must have been added here.

    Verdicts that were stored by an earlier release, and copies that are rotated or flipped, are not found.
    """
    _, past = await _past(call)
    found = [
        PastVerdict(
            verdict_id=match.stored.verdict.verdict_id,
            post_id=match.stored.verdict.post_id,
            decision=match.stored.verdict.decision,
            image=match.image,
            distance=match.distance,
            decided=match.decided,
            sendable=match.can_be_sent,
        )
        for match in past
    ]
    return Response(PastMatches(matches=found).model_dump_json(), media_type="application/json")


async def send_to_review(call: Call) -> Response:
    """Put the past verdicts that match an entry into the review queue, but those that a person has decided.

    A bank with a route sends none there.
    """
    entry, past = await _past(call)
    seqs = [match.stored.seq for match in past if match.can_be_sent]
    try:
        sent = await match_back.send_to_review(call.context, _visible(call), entry.entry_id, seqs, call.actor())
    except Refused as why:
        raise Problem("bank_fixed", str(why)) from None
    return Response(Sent(sent=sent).model_dump_json(), media_type="application/json")


async def _past(call: Call) -> tuple[AddedEntry, list[match_back.PastMatch]]:
    bank = _visible(call)
    entry = await bank_entries.one(call.context.database, bank.name, call.request.path_params["entry_id"])
    if entry is None:
        raise Problem("not_found", "no entry with this id was added to the bank here")
    return entry, await match_back.find(call.context, bank, entry.kind, entry.value)


def _visible(call: Call) -> Bank:
    """Raises Problem, also for a bank with a route and a key without its scope."""
    try:
        bank = call.context.banks[call.request.path_params["bank"]].bank
    except KeyError:
        raise Problem("not_found", "there is no such bank") from None
    if bank.route and not call.key.may("child_safety"):
        raise Problem("not_found", "there is no such bank")
    return bank


def _changeable(call: Call) -> Bank:
    _visible(call)
    name, child_safety = call.request.path_params["bank"], call.key.may("child_safety")
    try:
        return bank_entries.changeable(call.context, name, child_safety=child_safety)
    except Refused as why:
        raise Problem("bank_fixed", str(why)) from None
