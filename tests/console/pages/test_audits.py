"""A blind audit in the pages: nothing tells what was found, in any language, by any address; and its answers."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import expect
from sqlalchemy import insert, select, update

from moderation_service.console.accounts import users
from moderation_service.console.accounts.sessions import open_session
from moderation_service.console.catalogues import MsgId
from moderation_service.console.context import ConsoleContext
from moderation_service.console.pages import words
from moderation_service.console.store import posts, reviews, verdicts
from moderation_service.console.store.tables import jobs, outbox, thumbnails
from moderation_service.console.store.tables import verdicts as verdict_rows
from moderation_service.contracts.audit import AuditDraw
from moderation_service.contracts.bank import BankAction, BankMatch
from moderation_service.contracts.engine_input import Language
from moderation_service.contracts.enums import AuditRound, Outcome
from moderation_service.contracts.post import ImageRef, Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.settings import AuditSettings
from tests.console.accounts.browser import PASSWORD, Browser, browser
from tests.console.pages.test_accessible import found
from tests.contracts.examples import CONTENT, DIGEST, IMAGE, POLICY, verdict

TEXT = "Lightly used, DM me for the price"
MATCH = BankMatch(
    bank="known_spam", kind="terms", entry="e-77", action=BankAction.BLOCK, policy=None, severity=5, route=None,
    digest=DIGEST, spans=((0, 7),), image=None,
)  # fmt: skip


def part(score: float, policy_id: str = "weapon_sale") -> Any:
    outcome = Outcome("block" if score >= 0.9 else "review" if score >= 0.5 else "allow")
    update = {"policy_id": policy_id, "score": score, "outcome": outcome, "violated": score >= 0.5}
    return POLICY.model_copy(update=update if score >= 0.5 else {**update, "attribution": None})


VARIANTS: dict[str, dict[str, Any]] = {
    "allow": {"decision": "allow", "policies": (part(0.03),)},
    "review": {"decision": "review", "policies": (part(0.73), part(0.61, "minor_contact"))},
    "block": {"decision": "block", "policies": (part(0.97),), "explanation": "A weapon is offered for sale."},
    "abstain": {"decision": "abstain", "abstain_reason": "label_mass_low", "policies": (part(0.03),)},
    "bank": {"decision": "block", "decided_by": "bank", "matches": (MATCH,), "policies": ()},
    "similar": {
        "decision": "allow",
        "policies": (part(0.03),),
        "similar_to": "d" * 32,
        "flags": ("injection_suspected",),
    },
}


def drawn(number: int, *, second: bool = False, **fields: Any) -> Verdict:
    draw = AuditDraw(stratum="allow_near", probability=0.37, is_sampled=True, second=second)
    content = CONTENT.model_copy(update={"text_sha256": f"{number}"})
    named = {"verdict_id": f"{number:032x}", "post_id": f"p-{number:03}", "judged_at": datetime.now(UTC)}
    return verdict(audit=draw, content=content, metadata={}, **named, **fields)


async def keep(context: ConsoleContext, made: Verdict) -> None:
    async with context.database.begin() as connection:
        images = (ImageRef(url="https://cdn.example/p.jpg"),)
        await posts.put(connection, Post(post_id=made.post_id, revision=2, text=TEXT, images=images), None)
        await verdicts.put(connection, made, made.judged_at)
        row = {"post_id": made.post_id, "revision": 2, "position": 0, "status": "judged", "sha256": IMAGE.sha256}
        await connection.execute(insert(thumbnails).values(**row, width=8, height=8, image=b"webp"))


class Person:
    """A reviewer at the pages, by HTTP."""

    def __init__(self, http: Browser, cookie: dict[str, str]) -> None:
        self._http, self._cookie = http, cookie

    async def page(self, path: str = "/", language: Language = "en", status: int = 200) -> str:
        answer = await self._http.get(path, headers={"Accept-Language": language, **self._cookie})
        assert answer.status == status, path
        return await answer.text()

    async def send(self, path: str, status: int = 303, **fields: Any) -> str:
        token = re.search('name="csrf_token" value="([^"]+)"', await self.page())
        assert token
        answer = await self._http.post(path, data={"csrf_token": token[1], **fields}, headers=self._cookie)
        assert answer.status == status, await answer.text()
        return await answer.text()

    async def answer(self, verdict_id: str, *violated: str, status: int = 303) -> str:
        """Take an audit and answer it."""
        await self.send(f"/queue/take/{verdict_id}")
        given = {"answer": "marked" if violated else "none"}
        return await self.send(f"/audits/{verdict_id}/decide", status, violated=list(violated), **given)


@pytest_asyncio.fixture(loop_scope="session")
async def people(context: ConsoleContext, address: str) -> AsyncIterator[dict[str, Person]]:
    """mei and ann review, eve settles too; audits are on."""
    context.settings = context.settings.model_copy(update={"audit": AuditSettings(per_day=100)})
    kafka = context.settings.kafka
    await users.add(context.database, kafka, "ann", PASSWORD, role="admin", actor="user:test")
    permissions: Any = ["adjudicate"]
    await users.add(
        context.database, kafka, "eve", PASSWORD, role="reviewer", actor="user:test", permissions=permissions
    )
    async with AsyncExitStack() as stack:
        made = {}
        for name in ("mei", "ann", "eve"):
            async with context.database.begin() as connection:
                token = await open_session(connection, name, hours=1)
            http = await stack.enter_async_context(browser(address))
            made[name] = Person(http, {"Cookie": f"session={token}"})
        yield made


def hand(html: str) -> str:
    """What is in hand, without what differs between any two posts."""
    found = html[html.index('<section class="hand"') : html.index("</section>", html.index('id="decide"'))]
    found = re.sub(r"p-\d{3}|[0-9a-f]{32}", "ID", found)
    return re.sub(r"(csrf_token\" value=\")[^\"]+|seal=[0-9a-f]+|\d\d:\d\d UTC", r"\1", found)


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_the_page_is_the_same_whatever_was_decided(
    context: ConsoleContext, people: dict[str, Person], language: Language
) -> None:
    pages = {}
    for number, (name, fields) in enumerate(VARIANTS.items()):
        made = drawn(number, **fields)
        await keep(context, made)
        await people["mei"].send(f"/queue/take/{made.verdict_id}")
        pages[name] = hand(await people["mei"].page(language=language))
        opened = await people["mei"].send(f"/audits/{made.verdict_id}/pictures", 200)
        pages[f"{name}, with images"] = re.sub(r"p-\d{3}|[0-9a-f]{32,64}", "ID", opened.partition("<main")[2])
        pages[f"{name}, with images"] = re.sub('csrf_token" value="[^"]+', "", pages[f"{name}, with images"])
    plain = {html for name, html in pages.items() if "images" not in name}
    opened = {html for name, html in pages.items() if "images" in name}
    assert (len(plain), len(opened)) == (1, 1)
    assert TEXT in plain.pop()


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_no_word_of_a_decision_and_no_number_of_a_score_is_on_the_page(
    context: ConsoleContext, people: dict[str, Person], language: Language
) -> None:
    said = context.catalogues[language].gettext
    told = {
        said(title)
        for name in ("DECISIONS", "DECIDED", "REASONS", "FLAGS", "ACTIONS")
        for title in words.TITLES[name].values()
    }
    told |= {
        "allow",
        "block",
        "abstain",
        "known_spam",
        "e-77",
        "0.97",
        "0.73",
        "97%",
        "0.37",
        "similar",
        "d" * 32,
        "severity",
    }
    for number, fields in enumerate(VARIANTS.values()):
        made = drawn(number, **fields)
        await keep(context, made)
        await people["mei"].send(f"/queue/take/{made.verdict_id}")
        html = await people["mei"].page(language=language)
        shown = re.sub(r"<[^>]*>", " ", hand(html)) + " ".join(
            re.findall(r'(?:class|title|value)="([^"]*)"', hand(html))
        )
        assert not {one for one in told if re.search(rf"(?<![a-z_]){re.escape(one.lower())}(?![a-z_])", shown.lower())}
        entry = html[
            html.index(f"/queue/take/{made.verdict_id}") : html.index(
                "</li>", html.index(f"/queue/take/{made.verdict_id}")
            )
        ]
        assert said(MsgId("Blind audit")) in entry
        assert not re.search(r"chip|severity s[1-5]|is-(red|amber|green|violet)", entry + hand(html))
        asked = re.findall(r'name="violated" value="([^"]+)"', html)
        assert asked == [one.id for one in context.pack.enforced if one.applies_to(True, True, "feed")], "in one order"


async def test_no_other_address_tells_what_was_found(context: ConsoleContext, people: dict[str, Person]) -> None:
    made = drawn(1, **VARIANTS["block"])
    copy = made.model_copy(update={"verdict_id": "c" * 32, "post_id": "copy"})
    for one in (made, copy):
        await keep(context, one)
    for person in people.values():
        for one in (made, copy):
            assert "blind audit" in await person.page(f"/verdicts/{one.verdict_id}", status=423)
            await person.send(f"/verdicts/{one.verdict_id}/decide", 423, decision="allow", reason="x")
            await person.send(f"/verdicts/{one.verdict_id}/pictures", 423)
            for query in ("", "?decision=block", f"?post_id={one.post_id}", "?policy_id=weapon_sale"):
                listed = await person.page(f"/verdicts{query}")
                assert one.verdict_id not in listed
    await people["mei"].answer(made.verdict_id, "weapon_sale")
    assert "blind audit" in await people["mei"].page(f"/verdicts/{made.verdict_id}", status=423), "she may undo it"
    async with context.database.begin() as connection:
        await connection.execute(outbox.delete())
    assert "0.97" in await people["mei"].page(f"/verdicts/{made.verdict_id}")


async def test_two_answer_one_settles_and_each_answer_names_every_policy(
    context: ConsoleContext, people: dict[str, Person]
) -> None:
    made = drawn(1, second=True, **VARIANTS["allow"])
    await keep(context, made)
    await people["mei"].answer(made.verdict_id, "weapon_sale")
    assert made.post_id not in re.sub(r'class="toast".*', "", await people["mei"].page(), flags=re.DOTALL)
    await people["mei"].send(f"/audits/{made.verdict_id}/decide", 409, answer="none")
    await people["ann"].answer(made.verdict_id)
    await people["ann"].send(f"/audits/{made.verdict_id}/decide", 409, answer="none")
    await people["eve"].send(f"/queue/take/{made.verdict_id}")
    html = await people["eve"].page()
    assert "violated / not violated" in html, "both answers"
    assert "mei" not in hand(html), "and not whose"
    assert "0.03" not in hand(html), "nor the machine's"
    await people["eve"].send(f"/audits/{made.verdict_id}/decide", answer="marked", violated=["weapon_sale"])
    kept = await reviews.of_verdict(context.database, made.verdict_id)
    told = [(one.audit and one.audit.round, one.reviewer, one.decision) for one in reversed(kept)]
    assert told == [
        (AuditRound.FIRST, "mei", "block"),
        (AuditRound.SECOND, "ann", "allow"),
        (AuditRound.ADJUDICATION, "eve", "block"),
    ]
    asked = {one.id for one in context.pack.enforced if one.applies_to(True, True, "feed")}
    assert all({said.policy_id for said in one.policies} == asked for one in kept)
    async with context.database.connect() as connection:
        assert (await connection.execute(select(jobs.c.state))).scalars().all() == ["decided"]


async def test_an_answer_is_undone_by_who_gave_it(context: ConsoleContext, people: dict[str, Person]) -> None:
    made = drawn(1, **VARIANTS["allow"])
    await keep(context, made)
    await people["mei"].answer(made.verdict_id, "weapon_sale")
    (review,) = await reviews.of_verdict(context.database, made.verdict_id)
    await people["mei"].send(f"/reviews/{review.review_id}/undo")
    assert await reviews.of_verdict(context.database, made.verdict_id) == []
    assert TEXT in hand(await people["mei"].page()), "it is in hand again"


async def test_an_answer_that_contradicts_itself_is_asked_for_again(
    context: ConsoleContext, people: dict[str, Person]
) -> None:
    made = drawn(1, **VARIANTS["allow"])
    await keep(context, made)
    await people["mei"].send(f"/queue/take/{made.verdict_id}")
    path = f"/audits/{made.verdict_id}/decide"
    assert "Mark what is violated" in await people["mei"].send(path, 422, answer="marked")
    again = await people["mei"].send(path, 422, answer="none", violated="weapon_sale")
    assert "Something is marked" in again
    assert 'value="weapon_sale" checked' in again
    assert "too long" in await people["mei"].send(path, 422, answer="none", reason="x" * 4001)
    await people["mei"].send(path, 400, answer="maybe")
    await people["mei"].send("/audits/no-such-verdict/decide", 404, answer="none")
    assert await reviews.of_verdict(context.database, made.verdict_id) == []


async def test_a_post_that_is_not_here_can_only_be_handed_back(
    context: ConsoleContext, people: dict[str, Person]
) -> None:
    made = drawn(1, **VARIANTS["allow"])
    async with context.database.begin() as connection:
        await verdicts.put(connection, made, made.judged_at)
    await people["mei"].send(f"/queue/take/{made.verdict_id}")
    html = hand(await people["mei"].page() + "</section>")
    assert 'name="answer"' not in html
    assert "/queue/release/" in html


async def test_the_page_of_an_audit_has_no_barriers_and_is_answered_by_keys(
    context: ConsoleContext, visit: Callable[..., Any]
) -> None:
    made = drawn(1, **VARIANTS["allow"])
    await keep(context, made)
    seen = await visit()
    await seen.press("Enter")
    await expect(seen.page.locator("form#decide")).to_be_visible()
    assert await found(seen) == []
    await seen.page.get_by_role("checkbox", name="Sale of weapons").check()
    await seen.press("2")
    await expect(seen.page.locator(".toast button")).to_be_visible()
    (review,) = await reviews.of_verdict(context.database, made.verdict_id)
    assert [said.policy_id for said in review.policies if said.violated] == ["weapon_sale"]


async def test_images_of_an_audit_are_hidden_alike_and_looking_is_recorded(
    context: ConsoleContext, people: dict[str, Person]
) -> None:
    made = drawn(1, **VARIANTS["allow"])
    await keep(context, made)
    picture = f"/pictures/0?verdict={made.verdict_id}"
    await people["mei"].send(f"/audits/{made.verdict_id}/pictures", 404)
    await people["mei"].send(f"/queue/take/{made.verdict_id}")
    assert "<img" not in hand(await people["mei"].page())
    await people["mei"].page(picture, status=403)
    opened = await people["mei"].send(f"/audits/{made.verdict_id}/pictures", 200)
    address = re.search(r'src="(/pictures/[^"]+)"', opened)
    assert address
    await people["mei"].page(address[1].replace("&amp;", "&"))
    async with context.database.connect() as connection:
        values = (await connection.execute(select(outbox.c.value))).scalars().all()
    assert sum(b"images.shown" in value for value in values) == 1


async def test_an_address_of_an_older_verdict_on_the_post_tells_nothing_of_the_audited_one(
    context: ConsoleContext, people: dict[str, Person]
) -> None:
    old = drawn(1, **VARIANTS["block"]).model_copy(update={"audit": None, "post_revision": 1})
    made = drawn(2, **VARIANTS["block"]).model_copy(update={"post_id": old.post_id})
    for one in (old, made):
        await keep(context, one)
    await people["mei"].page(f"/verdicts/{old.verdict_id}", status=423)
    async with context.database.begin() as connection:
        await connection.execute(update(verdict_rows).values(cluster=None))
    await people["mei"].page(f"/verdicts/{old.verdict_id}", status=423)
