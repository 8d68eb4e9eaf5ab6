"""An entry that is added later finds past verdicts, which go to review once."""

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import bank_entries, match_back, outbox, posts, queue, reviews, verdicts
from moderation_service.console.store.bank_entries import Refused, UnknownEntry
from moderation_service.console.store.bank_quality import LEAST, bank_quality
from moderation_service.contracts.bank import Bank, BankEntry, BankMatch
from moderation_service.contracts.enums import ReviewDecision
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import ImageContent, Verdict
from moderation_service.media.pdq import WORDS, Hashes, to_hex
from moderation_service.settings import BankSettings
from tests.console.support import console_settings, shipped_pack
from tests.contracts.examples import CONTENT, DIGEST, IMAGE, verdict

SPAM = Bank(name="spam", action="block", severity=5)
ASKED = np.arange(1, WORDS + 1, dtype=np.uint64)[None]
[PDQ] = to_hex(ASKED)
NOW = datetime.now(UTC)


class Sent(NamedTuple):
    """A record of the outbox."""

    key: str
    value: bytes | None


def image(bits: int, *, quality: int = 80, sha256: str = "c" * 64) -> ImageContent:
    """One that is so many bits from what is asked for."""
    [pdq] = to_hex(ASKED ^ np.array([(1 << bits) - 1, 0, 0, 0], np.uint64))
    return IMAGE.model_copy(update={"pdq": pdq, "pdq_quality": quality, "sha256": sha256})


def judged(name: str, *images: ImageContent, **more: object) -> Verdict:
    content = CONTENT.model_copy(update={"images": images})
    given = {"verdict_id": f"v-{name}", "post_id": name, "decision": "allow", "policies": (), "judged_at": NOW}
    return verdict(**{**given, "content": content, **more})


@pytest.fixture
def context(database: AsyncEngine, database_url: str) -> ConsoleContext:
    made = ConsoleContext(settings=console_settings(database_url), database=database, pack=shipped_pack())
    made.banks.put_bank(SPAM)
    return made


async def keep(database: AsyncEngine, *made: Verdict) -> None:
    async with database.begin() as connection:
        await verdicts.put_rows(connection, [verdicts.verdict_row(one, NOW) for one in made])


async def test_near_copies_and_equal_bytes_are_found_the_newest_first(
    context: ConsoleContext, database: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(match_back, "_PAGE", 2)
    await keep(
        database,
        judged("far", image(32)),
        judged("near", image(31), image(3)),
        judged("flat", image(0, quality=49)),
        judged("odd", image(0, sha256="no digest")),
        judged("routed", image(0), route="child_safety"),
        judged("same", image(0, sha256="d" * 64)),
    )
    found = await match_back.find(context, SPAM, "image_pdq", PDQ)
    assert [(one.stored.verdict.post_id, one.image, one.distance) for one in found] == [("same", 0, 0), ("near", 1, 3)]
    found = await match_back.find(context, SPAM, "image_sha256", "d" * 64)
    assert [one.stored.verdict.post_id for one in found] == ["same"]


async def test_a_second_search_looks_at_what_came_since_alone_and_gives_what_is_there_now(
    context: ConsoleContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, within = list[int](), match_back._within

    def counted(rows: Sequence[Any], wanted: Hashes, threshold: int) -> list[Any]:
        looked.append(len(rows))
        return within(rows, wanted, threshold)

    async def found() -> list[str]:
        return [one.stored.verdict.post_id for one in await match_back.find(context, SPAM, "image_pdq", PDQ)]

    monkeypatch.setattr(match_back, "_within", counted)
    await keep(context.database, judged("a", image(1)), judged("far", image(40)), judged("b", image(2)))
    assert (await found(), await found(), looked) == (["b", "a"], ["b", "a"], [3])
    await keep(context.database, judged("c", image(3)))
    async with context.database.begin() as connection:
        await verdicts.erase(connection, ["a"])
    assert (await found(), looked) == (["c", "b"], [3, 1])
    async with context.database.begin() as connection:
        await verdicts.erase(connection, ["c"])
    await keep(context.database, judged("other", image(40)), judged("d", image(3)))  # SQLite: in the place of c
    assert await found() == ["d", "b"]
    near = SPAM.model_copy(update={"pdq_threshold": 2})
    past = await match_back.find(context, near, "image_pdq", PDQ)
    assert [one.stored.verdict.post_id for one in past] == ["b"]


async def test_words_are_found_in_the_posts_that_are_kept(context: ConsoleContext, database: AsyncEngine) -> None:
    async with database.begin() as connection:
        await posts.put(connection, Post(post_id="p", revision=2, text="Fr3e crypto, now"), None)
    await keep(database, judged("p", decision="block"), judged("q", decision="block"))
    found = await match_back.find(context, SPAM, "terms", "free crypto")
    assert [one.stored.verdict.post_id for one in found] == ["p"]


async def test_what_nobody_decided_goes_to_review_once(context: ConsoleContext) -> None:
    database = context.database
    await keep(
        database,
        judged("new", image(1)),
        judged("decided", image(1), decision="block"),
        judged("waits", image(1), decision="review"),
        judged("old", image(1)),
        judged("old", image(1), verdict_id="v-old-3", post_revision=3),
    )
    await reviews.decide(context, "mei", "v-decided", reviews.Decided(ReviewDecision.ALLOW))
    past = await match_back.find(context, SPAM, "image_pdq", PDQ)
    sendable = {one.stored.verdict.verdict_id: one.can_be_sent for one in past}
    assert sendable == {"v-new": True, "v-decided": False, "v-waits": False, "v-old": False, "v-old-3": True}
    seqs = [one.stored.seq for one in past]
    assert await match_back.send_to_review(context, SPAM, "e1", seqs, "reviewer:mei") == 2
    assert await match_back.send_to_review(context, SPAM, "e1", seqs, "reviewer:mei") == 0
    waiting = await queue.listed(database, queue.Filters(), limit=9, now=NOW)
    reasons = {job.verdict_id: (job.reason, job.severity) for job in waiting}
    assert reasons == {"v-new": ("spam/e1", 5), "v-old-3": ("spam/e1", 5), "v-waits": (None, 0)}
    await reviews.decide(context, "mei", "v-new", reviews.Decided(ReviewDecision.BLOCK, reason="it is spam"))
    assert "bank_entry.matched_back" in [record.key for record in await sent(database)]


async def test_a_bank_with_a_route_sends_nothing_to_the_queue_of_all(context: ConsoleContext) -> None:
    await keep(context.database, judged("new", image(1)))
    seqs = [one.stored.seq for one in await match_back.find(context, SPAM, "image_pdq", PDQ)]
    routed = Bank(name="known", action="escalate", route="child_safety")
    with pytest.raises(Refused):
        await match_back.send_to_review(context, routed, "e1", seqs, "reviewer:eve")
    assert await queue.listed(context.database, queue.Filters(), limit=9, now=NOW) == []


@pytest.mark.parametrize("is_file", [False, True])
def test_a_bank_with_a_route_is_unknown_to_those_without_the_permission(
    context: ConsoleContext, tmp_path: Path, *, is_file: bool
) -> None:
    context.banks.put_bank(Bank(name="hidden", action="escalate", route="child_safety"))
    if is_file:
        (tmp_path / "hidden.jsonl").touch()
        context.settings = context.settings.model_copy(update={"banks": BankSettings(path=tmp_path)})
    for name in ("hidden", "none"):
        with pytest.raises(UnknownEntry):
            bank_entries.changeable(context, name, child_safety=False)
    with pytest.raises(Refused) if is_file else nullcontext():
        assert bank_entries.changeable(context, "hidden", child_safety=True).route


async def test_an_entry_goes_to_the_topic_with_its_audit_and_is_removed(context: ConsoleContext) -> None:
    entry = BankEntry(kind="image_pdq", value=PDQ, source="mei", note="campaign of May")
    await bank_entries.add(context, SPAM, entry, actor="reviewer:mei", verdict_id="v-1")
    (made,) = await bank_entries.recent(context.database, "spam", 9)
    assert (made.entry_id, made.reason, made.added_by, made.removed_at) == (entry.id, "campaign of May", "mei", None)
    await bank_entries.remove(context, SPAM, entry.id, actor="reviewer:mei")
    with pytest.raises(UnknownEntry):
        await bank_entries.remove(context, SPAM, entry.id, actor="reviewer:mei")
    records = await sent(context.database)
    assert [record.key for record in records] == [
        f"spam/{entry.id}",
        "bank_entry.added",
        f"spam/{entry.id}",
        "bank_entry.removed",
    ]
    assert BankEntry.model_validate_json(records[0].value or b"") == entry
    assert records[2].value is None
    await bank_entries.add(context, SPAM, entry, actor="reviewer:mei", verdict_id=None)
    assert [one.removed_at for one in await bank_entries.recent(context.database, "spam", 9)] == [None]


def test_a_picture_without_detail_is_taken_by_its_bytes_alone() -> None:
    flat = judged("flat", image(0, quality=49))
    with pytest.raises(Refused, match="too little detail"):
        bank_entries.image_value(flat, 0, "image_pdq", SPAM)
    assert bank_entries.image_value(flat, 0, "image_sha256", SPAM) == "c" * 64
    with pytest.raises(Refused, match="not read"):
        bank_entries.image_value(flat, 1, "image_sha256", SPAM)


async def test_false_matches_are_counted_from_reviews(context: ConsoleContext) -> None:
    match = BankMatch(
        bank="spam", kind="terms", entry="e", action="block", policy=None, severity=3, route=None, digest=DIGEST
    )
    harmless = match.model_copy(update={"bank": "known", "action": "allow"})
    made = [judged(str(n), decision="block", matches=(match, match), shadow_matches=(harmless,)) for n in range(LEAST)]
    await keep(context.database, *made)
    for number, one in enumerate(made):
        decision = ReviewDecision.ALLOW if number < 2 else ReviewDecision.BLOCK
        await reviews.decide(context, "mei", one.verdict_id, reviews.Decided(decision, reason="so", further=True))
        quality = await bank_quality(context.database, NOW)
        assert bool(quality.precision("spam")) == (number + 1 == LEAST)
    assert (quality.matches["spam"], quality.agreed["spam"].yes, quality.agreed["known"].yes) == (10, 8, 2)


async def sent(database: AsyncEngine) -> list[Sent]:
    entries = await outbox.take(database, datetime.now(UTC).replace(year=2100), 99)
    return [Sent((one.record.key or b"").decode(), one.record.value) for one in entries]
