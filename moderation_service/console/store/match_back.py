"""Match-back: past verdicts on images that an entry of a bank matches, and sending them to review."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import and_, exists, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.banks.matcher import BankMatcher
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import outbox
from moderation_service.console.store.bank_entries import Refused
from moderation_service.console.store.tables import image_hashes, jobs, posts, reviews, verdicts
from moderation_service.console.store.verdicts import Stored, alone, by_seqs, job_row
from moderation_service.console.store.withheld import visible
from moderation_service.contracts.bank import Bank, BankEntry, EntryKind
from moderation_service.contracts.enums import Mode
from moderation_service.media.pdq import WORDS, Hashes, from_hex
from moderation_service.telemetry import audit

MOST = 200
"""Past verdicts that are listed, the newest."""
_PAGE = 2_000  # hashes in memory at once; the event loop waits while rows of a page are made
_WORDS_PAGE, _MOST_WORDS = 500, 20_000  # posts


class _Found(NamedTuple):
    seq: int
    image: int | None
    distance: int | None = None


@dataclass(frozen=True, slots=True)
class PastMatch:
    """A past verdict. `state`: its job's, or None; `decided`: a person has decided on it."""

    stored: Stored
    image: int | None
    distance: int | None
    state: str | None
    decided: bool

    @property
    def can_be_sent(self) -> bool:
        """Whether it would go to the queue: the post's newest verdict, which is neither there nor decided."""
        return self.stored.newest and not self.decided and self.state is None


async def find(context: ConsoleContext, bank: Bank, kind: EntryKind, value: str) -> list[PastMatch]:
    """Past verdicts that the entry matches, the newest first; of one with several images the nearest.

    One hash of each image is stored, so a copy that is rotated or flipped is not found. Words are those of the newest
    20,000 posts that are kept.
    """
    database = context.database
    match kind:
        case "image_sha256":
            found = await _same_bytes(database, value)
        case "image_pdq":
            found = await _near(context, bank, value)
        case "terms" | "urls":
            found = await _in_words(database, bank, BankEntry(kind=kind, value=value))
    nearest = dict[int, _Found]()
    for one in sorted(found, key=lambda one: one.distance or 0):
        nearest.setdefault(one.seq, one)
    newest = sorted(nearest, reverse=True)[:MOST]
    of_jobs = select(jobs.c.verdict_seq, jobs.c.state).where(jobs.c.verdict_seq.in_(newest))
    of_reviews = select(verdicts.c.seq).join(reviews, reviews.c.verdict_id == verdicts.c.verdict_id)
    async with database.connect() as connection:
        states = {row.verdict_seq: row.state for row in await connection.execute(of_jobs)}
        decided = set((await connection.execute(of_reviews.where(verdicts.c.seq.in_(newest)))).scalars())
    past = list[PastMatch]()
    for stored in await by_seqs(database, newest):
        one = nearest[stored.seq]
        past.append(PastMatch(stored, one.image, one.distance, states.get(one.seq), one.seq in decided))
    return past


async def send_to_review(context: ConsoleContext, bank: Bank, entry_id: str, seqs: Collection[int], actor: str) -> int:
    """Put verdicts into the review queue, as grave as the bank says; how many were not there and not decided.

    Raises Refused for a bank with a route: who has the queue may not see such posts.
    """
    if bank.route:
        raise Refused("queue")
    async with context.transaction() as connection:
        await alone(connection)
        is_decided = exists().where(reviews.c.verdict_id == verdicts.c.verdict_id)
        has_job = exists().where(jobs.c.verdict_seq == verdicts.c.seq)
        fit = (verdicts.c.seq.in_(seqs), verdicts.c.newest, ~is_decided, ~has_job, *visible())
        rows = (await connection.execute(select(verdicts).where(*fit))).all()
        sent = {"reason": f"{bank.name}/{entry_id}"}
        made = [
            {**job_row(row._asdict(), row.seq, "open"), **sent, "severity": max(row.severity, bank.severity)}
            for row in rows
        ]
        if made:
            await connection.execute(insert(jobs), made)
            details: dict[str, int | str] = {"ids": entry_id, "verdicts": len(made)}
            entry = audit.AuditEntry(actor=actor, action="bank_entry.matched_back", target=bank.name, details=details)
            await outbox.put(connection, outbox.audited(context.settings.kafka, entry))
    return len(made)


async def _same_bytes(database: AsyncEngine, value: str) -> list[_Found]:
    seq, position = image_hashes.c.verdict_seq, image_hashes.c.position
    query = select(seq, position).where(image_hashes.c.sha256 == bytes.fromhex(value)).order_by(seq.desc()).limit(MOST)
    async with database.connect() as connection:
        return [_Found(*row) for row in await connection.execute(query)]


async def _near(context: ConsoleContext, bank: Bank, value: str) -> list[_Found]:
    """The newest first, page by page, until there are enough; of what was looked through lately, only what came since.

    Verdicts are written by one transaction at a time, so none gets a lower number than one that is there. SQLite gives
    the number of the newest anew if that is erased: then all are looked through.
    """
    wanted, found = from_hex([value]), list[_Found]()
    asked = value, bank.pdq_threshold, bank.pdq_min_quality
    before, known = context.past_images.get(asked, ((0, ""), ()))
    numbered = select(verdicts.c.seq, verdicts.c.verdict_id).order_by(verdicts.c.seq.desc()).limit(1)
    seq, position, pdq = image_hashes.c.verdict_seq, image_hashes.c.position, image_hashes.c.pdq
    async with context.database.connect() as connection:
        if (await connection.execute(numbered.where(verdicts.c.seq == before[0]))).one_or_none() != before:
            before, known = (0, ""), ()
        last = (await connection.execute(numbered)).one_or_none() or before
        new = (seq > before[0], seq <= last[0], pdq.is_not(None), image_hashes.c.pdq_quality >= bank.pdq_min_quality)
        page = first = select(seq, position, pdq).where(*new).order_by(seq.desc(), position.desc()).limit(_PAGE)
        while len(found) < MOST and (rows := (await connection.execute(page)).all()):
            found += await asyncio.to_thread(_within, rows, wanted, bank.pdq_threshold)
            page = first.where(tuple_(seq, position) < rows[-1][:2])
    found = [*found, *known][: 2 * MOST]  # of a verdict several images may match
    context.past_images[asked] = (last[0], last[1]), found
    return found


def _within(rows: Sequence[Any], wanted: Hashes, threshold: int) -> list[_Found]:
    hashes = np.frombuffer(b"".join(row[2] for row in rows), ">u8").astype(np.uint64).reshape(-1, WORDS)
    distances = np.bitwise_count(hashes ^ wanted).sum(axis=1)
    return [
        _Found(rows[at][0], rows[at][1], int(distances[at])) for at in map(int, np.flatnonzero(distances <= threshold))
    ]


async def _in_words(database: AsyncEngine, bank: Bank, entry: BankEntry) -> list[_Found]:
    """In pages, each on a thread."""
    matcher, found = BankMatcher(), list[_Found]()
    matcher.put_bank(bank.model_copy(update={"mode": Mode.ENFORCE, "expires_at": None}), [entry])
    same = (posts.c.post_id == verdicts.c.post_id, posts.c.revision == verdicts.c.post_revision)
    page = first = (
        select(verdicts.c.seq, posts.c.text).join(posts, and_(*same)).order_by(verdicts.c.seq.desc()).limit(_WORDS_PAGE)
    )
    async with database.connect() as connection:
        for _ in range(_MOST_WORDS // _WORDS_PAGE):
            if len(found) >= MOST or not (rows := (await connection.execute(page)).all()):
                break
            found += await asyncio.to_thread(_worded, rows, matcher)
            page = first.where(verdicts.c.seq < rows[-1][0])
    return found


def _worded(rows: Sequence[Any], matcher: BankMatcher) -> list[_Found]:
    return [_Found(seq, None) for seq, text in rows if matcher.match_text(text).enforced]
