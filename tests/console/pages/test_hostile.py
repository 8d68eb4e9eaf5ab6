"""What strangers write stays text; what is not theirs to see is not shown; a form of another page does nothing."""

import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import numpy as np
from playwright.async_api import expect
from sqlalchemy import insert, select
from starlette.routing import Route
from yarl import URL

from moderation_service.console.accounts import users
from moderation_service.console.app import page_routes
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import posts, tables, verdicts
from moderation_service.contracts.post import Post
from tests.console.pages.browsing import PASSWORD
from tests.console.pages.filled import TOLD, fill, judged, keep

Visits = Callable[..., Any]
EVIL = """'"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>{{ 7*7 }}"""
MINORS = next(told for told in TOLD if told.scores and "minor_contact" in told.scores)


async def test_markup_in_words_names_and_metadata_is_shown_as_text(context: ConsoleContext, visit: Visits) -> None:
    made = judged(TOLD[0], context.pack, f"p/../{EVIL}?#", datetime.now(UTC), rng=np.random.default_rng(1))
    evil = made.model_copy(
        update={
            "verdict_id": f"v/{EVIL}?#",
            "author_id": EVIL,
            "surface": EVIL[:64],
            "metadata": {EVIL: EVIL},
            "explanation": EVIL,
            "explanation_kind": "generated",
            "model": made.model.model_copy(update={"name": EVIL, "revision": EVIL}),
            "trace_id": EVIL,
            "duplicate_of": EVIL,
            "content": made.content.model_copy(update={"language": EVIL}),
            "policies": (made.policies[0].model_copy(update={"policy_id": EVIL, "violated": True}), *made.policies[1:]),
        }
    )
    async with context.database.begin() as connection:
        await posts.put(connection, Post(post_id=evil.post_id, text=EVIL), None)
        await verdicts.put(connection, evil, evil.judged_at)
        row = {"review_id": EVIL, "verdict_id": evil.verdict_id, "post_id": evil.post_id, "post_revision": 1}
        said = {"policies": [{"policy_id": EVIL, "violated": True, "attribution_class": None}], "reason": EVIL}
        await connection.execute(
            insert(tables.reviews).values(
                **row, **said, decision="allow", reviewer=EVIL, verdict_decision="review", reviewed_at=evil.judged_at
            )
        )
    seen = await visit()
    for path in ("/", "/verdicts", "/policies", "/overview", "/verdicts?post_id=" + EVIL, "/?policy_id=" + EVIL):
        await seen.go(path)
        assert await seen.page.evaluate("window.hacked") is None
        assert await seen.page.locator("main script, main img[src=x]").count() == 0
    await seen.go("/verdicts")
    await seen.page.locator("tbody a").first.click()
    await expect(seen.page.locator(".words")).to_have_text(EVIL)
    await seen.page.locator(".fold summary").last.click()
    await expect(seen.page.locator("body")).to_contain_text("{{ 7*7 }}")
    assert await seen.page.evaluate("window.hacked") is None
    assert await seen.page.locator("main script, main img[src=x]").count() == 0


async def test_personal_data_is_taken_out_of_the_words(context: ConsoleContext, visit: Visits) -> None:
    made = await fill(context.database, context.pack, 5)
    seen = await visit()
    await seen.go(f"/verdicts/{made[1].verdict_id}")
    await expect(seen.page.locator(".words")).to_contain_text("九成新")
    assert "13800138000" not in await seen.page.content()
    await seen.go("/")
    assert "13800138000" not in await seen.page.content()


async def test_personal_data_is_taken_out_of_what_is_shown_beside_the_words(
    context: ConsoleContext, visit: Visits
) -> None:
    made = judged(TOLD[0], context.pack, "p-1", datetime.now(UTC), rng=np.random.default_rng(1))
    private = {"author_id": "anna@example.org", "surface": "tel 13800138000", "metadata": {"phone": "+44 20 7946 0958"}}
    stored = made.model_copy(update=private)
    async with context.database.begin() as connection:
        await verdicts.put(connection, stored, stored.judged_at)
        await connection.execute(
            insert(tables.reviews).values(
                review_id="r-1",
                verdict_id=stored.verdict_id,
                post_id=stored.post_id,
                post_revision=1,
                policies=[],
                reason="I rang 415-555-2671",
                decision="allow",
                reviewer="anna",
                verdict_decision="review",
                reviewed_at=stored.judged_at,
            )
        )
    seen = await visit()
    await seen.go(f"/verdicts/{stored.verdict_id}")
    shown = await seen.page.content()
    assert not [number for number in ("anna@example.org", "13800138000", "7946", "555-2671") if number in shown]
    await expect(seen.page.locator(".history").first).to_contain_text("I rang [phone]")


async def test_a_restricted_image_is_sent_only_to_who_asked_twice_and_that_is_on_record(
    context: ConsoleContext, visit: Visits, address: str
) -> None:
    made = judged(MINORS, context.pack, "p-1", datetime.now(UTC), rng=np.random.default_rng(1))
    await keep(context.database, MINORS, made)
    await users.add(context.database, context.settings.kafka, "ann", PASSWORD, role="reviewer", actor="user:test")
    seen = await visit()
    await seen.go(f"/verdicts/{made.verdict_id}")
    images = seen.page.locator(".pictures img")
    assert await images.count() == 0
    assert (await seen.page.request.get(f"{address}/pictures/0?verdict={made.verdict_id}")).status == 403
    await seen.press("p")
    await expect(seen.page.locator(".locked")).to_contain_text("Your name and the time are recorded")
    assert await images.count() == 0
    assert await recorded(context) == []
    await seen.press("p")
    await expect(images).to_be_visible()
    await expect(images).to_have_css("filter", "grayscale(1)")
    sealed = f"{address}{await images.get_attribute('src')}"
    assert (await seen.page.request.get(sealed)).headers["content-type"] == "image/webp"
    assert await recorded(context) == [("reviewer:mei", made.verdict_id)]
    other = await visit("ann")
    assert (await other.page.request.get(sealed)).status == 403  # the seal is of mei's session
    for name in ("reviews", "verdicts"):
        exported = await (await seen.page.request.get(f"{address}/policies/{name}.jsonl")).body()
        assert b"webp" not in exported.lower()


async def test_an_image_that_nobody_restricts_is_veiled_at_first(context: ConsoleContext, visit: Visits) -> None:
    made = judged(TOLD[0], context.pack, "p-1", datetime.now(UTC), rng=np.random.default_rng(1))
    await keep(context.database, TOLD[0], made)
    seen = await visit()
    await seen.go(f"/verdicts/{made.verdict_id}")
    shown = seen.page.locator(".pictures img")
    assert "blur" in await shown.evaluate("img => getComputedStyle(img).filter")
    await seen.page.get_by_text("Show pictures").click()
    await expect(shown).to_have_css("filter", "none")


async def test_an_unsure_verdict_is_restricted_where_a_restricted_policy_was_asked(
    context: ConsoleContext, visit: Visits
) -> None:
    told = next(one for one in TOLD if one.reason == "label_mass_low")
    made = judged(told, context.pack, "p-1", datetime.now(UTC), rng=np.random.default_rng(1))
    await keep(context.database, told, made)
    seen = await visit()
    await seen.go(f"/verdicts/{made.verdict_id}")
    await expect(seen.page.locator(".locked")).to_be_visible()


def guarded() -> list[tuple[str, str]]:
    """Each page and each form with a path that fits it."""
    found = []
    for route in page_routes():
        if isinstance(route, Route) and route.path not in {"/login", "/preferences"}:
            path = route.path.replace("{verdict_id:path}", "v").replace("{review_id:path}", "r")
            path = path.replace("{position:int}", "0").replace("{policy_id}", "weapon_sale")
            found += [(method, path) for method in sorted(route.methods or ()) if method != "HEAD"]
    return found


async def test_nothing_is_shown_or_done_without_a_session(address: str) -> None:
    async with aiohttp.ClientSession() as http:
        for method, path in guarded():
            async with http.request(method, f"{address}{path}", allow_redirects=False) as answer:
                assert answer.status == 303, path
                assert answer.headers["Location"].startswith("/login?next=/")


async def test_a_form_without_the_sessions_token_does_nothing(context: ConsoleContext, address: str) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        async with http.post(f"{address}/login", data={"user": "mei", "password": PASSWORD, "next": "/"}) as answer:
            assert answer.url.path == "/"
        tries = [{"decision": "allow"}, {"decision": "allow", "csrf_token": "x" * 43}]
        for path, data in itertools.product([path for method, path in guarded() if method == "POST"], tries):
            async with http.post(f"{address}{path}", data=data, allow_redirects=False) as answer:
                assert answer.status == 403, path


async def test_preferences_lead_nowhere_else(address: str) -> None:
    async with aiohttp.ClientSession() as http:
        for to in ("https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"):
            asked = http.get(f"{address}/preferences", params={"theme": "dark", "next": to}, allow_redirects=False)
            async with asked as answer:
                assert answer.headers["Location"] == "/"


async def test_static_files_are_the_folders_alone(address: str) -> None:
    async with aiohttp.ClientSession() as http:
        for path in ("../routes.py", "%2e%2e/routes.py", "..%2froutes.py", "../../../../etc/passwd", "/etc/passwd"):
            async with http.get(URL(f"{address}/static/{path}", encoded=True)) as answer:
                assert answer.status == 404, path


async def recorded(context: ConsoleContext) -> list[tuple[str, str]]:
    """Who is on record as having looked, and at which verdict."""
    async with context.database.connect() as connection:
        rows = await connection.execute(select(tables.outbox.c.value, tables.outbox.c.key))
        entries = [json.loads(row.value) for row in rows if row.key == b"images.shown"]
    return [(entry["actor"], entry["target"]) for entry in entries]
