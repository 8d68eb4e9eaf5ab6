"""A reviewer's way through the pages: by links, by keys alone, on a phone, in both languages."""

import itertools
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from gettext import NullTranslations
from typing import Any

import numpy as np
import pytest
from babel import Locale
from playwright.async_api import expect

from moderation_service.console.catalogues import Catalogue
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import queue, reviews, verdicts
from tests.console.pages.browsing import DESK, PHONE
from tests.console.pages.filled import TOLD, fill, judged, keep

Visits = Callable[..., Any]
NAMES = {
    "en-GB": ["Queue", "Verdicts", "Try it", "Policies", "Overview"],
    "zh-CN": ["队列", "判断记录", "试一试", "政策", "概览"],
}
PAGES = ("/", "/verdicts", "/try", "/policies", "/policies/weapon_sale", "/overview")


@pytest.mark.parametrize("locale", NAMES)
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_each_page_is_a_link_away_in_both_languages(
    context: ConsoleContext, visit: Visits, locale: str, size: dict[str, Any]
) -> None:
    await fill(context.database, context.pack, 28, decided=8)
    seen = await visit(locale=locale, **size)
    for name in NAMES[locale]:
        await seen.page.get_by_role("navigation").first.get_by_role("link", name=name).click()
        await expect(seen.page.locator("h1").first).to_have_text(name)
        await expect(seen.page.locator("html")).to_have_attribute("lang", locale[:2])
    await seen.go("/verdicts?decision=review")
    await seen.page.locator("tbody a").first.click()
    await expect(seen.page.locator(".evidence").first).to_be_visible()


async def test_the_overview_opens_on_the_hour_that_holds_all_there_is_and_else_on_a_day(
    context: ConsoleContext, visit: Visits
) -> None:
    now = datetime.now(UTC)
    seen = await visit()
    for ago, shown in ((None, "24 hours"), (timedelta(0), "1 hour"), (timedelta(hours=2), "24 hours")):
        if ago is not None:
            made = judged(TOLD[0], context.pack, f"p{ago.seconds}", now - ago, rng=np.random.default_rng(1))
            await keep(context.database, TOLD[0], made)
        await seen.go("/overview")
        await expect(seen.page.locator("nav.choice[aria-label='Span'] [aria-current]")).to_have_text(shown)


async def test_language_and_colours_are_chosen_and_kept(context: ConsoleContext, visit: Visits) -> None:
    seen = await visit()
    await seen.page.locator(".menu summary").click()
    await seen.page.get_by_role("link", name="中文").click()
    await expect(seen.page.locator("h1")).to_have_text("队列")
    await seen.page.locator(".menu summary").click()
    await seen.page.get_by_role("link", name="深色").click()
    await seen.go("/overview")
    await expect(seen.page.locator("html")).to_have_attribute("data-theme", "dark")
    await expect(seen.page.locator("h1")).to_have_text("概览")
    dark = "getComputedStyle(document.body).backgroundColor"
    assert await seen.page.evaluate(dark) == "rgb(17, 21, 27)"


async def test_a_post_is_taken_seen_corrected_decided_and_undone_by_keys_alone(
    context: ConsoleContext, visit: Visits
) -> None:
    await fill(context.database, context.pack, 14)
    seen = await visit()
    await seen.go("/?policy_id=weapon_sale")
    first = await seen.take("Enter")
    second = await seen.take("j")
    assert second != first
    assert await seen.take("k") == first
    shown = seen.page.locator(".pictures img")
    await expect(shown).to_have_css("filter", re.compile("blur.*grayscale"))
    await seen.press("p")
    await expect(shown).to_have_css("filter", "none")
    await seen.press("3")
    await seen.page.select_option("select[name='violated:doxxing']", "yes")
    await seen.press("Escape")
    await seen.press("r")
    await seen.page.keyboard.type("1 is a word here, not a key")
    await seen.press("Escape")
    after = await seen.take("2")
    assert after != first
    verdict_id = await _verdict_of(context, first)
    (review,) = await reviews.of_verdict(context.database, verdict_id)
    assert (review.decision, review.reviewer, review.reason) == ("block", "mei", "1 is a word here, not a key")
    said = {answer.policy_id: answer.violated for answer in review.policies}
    assert said["weapon_sale"]
    assert said["doxxing"]
    assert await seen.take("u") == first
    assert await reviews.of_verdict(context.database, verdict_id) == []
    handed_back = await seen.in_hand()
    await seen.take("4")
    assert handed_back != await seen.in_hand()


async def test_keys_are_told_by_a_question_mark_and_can_be_turned_off(context: ConsoleContext, visit: Visits) -> None:
    await fill(context.database, context.pack, 5)
    seen = await visit()
    await seen.press("?")
    await expect(seen.page.locator("#help")).to_be_visible()
    await seen.page.get_by_role("link", name="Turn single keys off").click()
    await seen.press("?")
    await expect(seen.page.locator("#help")).to_be_hidden()


async def test_filters_keep_what_they_name(context: ConsoleContext, visit: Visits) -> None:
    await fill(context.database, context.pack, 28)
    seen = await visit()
    await seen.press("/")
    await seen.page.locator("select[name=why]").select_option("image_unavailable")
    await expect(seen.page).to_have_url(re.compile("why=image_unavailable"))
    rows = seen.page.locator(".jobs .title")
    await expect(rows).to_have_count(2)
    assert set(await rows.all_text_contents()) == {"Abstained"}


async def test_a_phone_decides_by_touch_and_nothing_hangs_over_its_edge(context: ConsoleContext, visit: Visits) -> None:
    made = await fill(context.database, context.pack, 14)
    seen = await visit(**PHONE)
    await seen.page.get_by_role("button", name="Take the first").tap()
    await expect(seen.page.locator(".evidence").first).to_be_visible()
    first = await seen.in_hand()
    for path in (*PAGES, f"/verdicts/{made[0].verdict_id}"):
        await seen.go(path)
        assert await seen.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
        small = "a => a.filter(b => b.checkVisibility() && b.getBoundingClientRect().height < 24).map(b => b.outerHTML)"
        assert await seen.page.locator("button, select, nav a").evaluate_all(small) == [], path
    await seen.go("/")
    await seen.page.get_by_role("button", name="Allow").tap()
    await expect(seen.page.locator(".toast")).to_contain_text(first)


async def test_no_language_pushes_a_page_or_a_button_over_a_phones_edge(context: ConsoleContext, visit: Visits) -> None:
    context.catalogues = {**context.catalogues, "ar": Catalogue(Locale("ar"), NullTranslations())}
    made = await fill(context.database, context.pack, 14)
    blocked = next(one for one in made if one.decision == "block")
    outside = "all => all.filter(b => b.checkVisibility()).map(b => [b.getBoundingClientRect(), b.textContent])"
    outside += ".filter(([at]) => at.left < 0 || at.right > innerWidth).map(([, text]) => text)"
    seen = await visit(**PHONE)
    await seen.take("Enter")
    for language, path in itertools.product(("de", "es", "ar"), ("/", f"/verdicts/{blocked.verdict_id}", "/policies")):
        await seen.go(f"/preferences?language={language}&next={path}")
        await seen.page.locator(".menu summary").tap()
        assert await seen.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (language, path)
        assert await seen.page.locator("button, .button, .choice a").evaluate_all(outside) == [], (language, path)


async def test_what_comes_appears_by_itself_and_does_not_disturb_who_writes(
    context: ConsoleContext, visit: Visits
) -> None:
    seen = await visit()
    await expect(seen.page.locator("#idle")).to_contain_text("All decided.")
    await _one_more(context, "late-1")
    await expect(seen.page.locator(".job")).to_have_count(1)
    await expect(seen.page.locator("#idle")).to_contain_text("Take a post to begin.")
    await seen.take("Enter")
    await seen.press("r")
    await seen.page.keyboard.type("half a reas")
    await _one_more(context, "late-2")
    await expect(seen.page.locator(".job")).to_have_count(2)
    await seen.page.keyboard.type("on")
    await expect(seen.page.locator("#reason")).to_have_value("half a reason")


async def test_a_console_that_is_away_is_said_to_be(visit: Visits, context: ConsoleContext) -> None:
    seen = await visit()
    seen.expected = ("Failed to load resource", "htmx:sendError", "htmx:afterRequest")
    await seen.page.route("**/*", lambda route: route.abort())
    await expect(seen.page.get_by_role("alert")).to_contain_text("does not answer")
    await seen.page.unroute("**/*")
    await expect(seen.page.get_by_role("alert")).to_be_hidden(timeout=15_000)


async def test_kafka_that_is_away_is_said_and_decisions_go_on(visit: Visits, context: ConsoleContext) -> None:
    await fill(context.database, context.pack, 5)
    context.held.add("ingest: Kafka does not answer")
    seen = await visit()
    await expect(seen.page.locator(".warn")).to_contain_text("Kafka does not answer")
    first = await seen.take("Enter")
    assert await seen.take("1") != first


async def test_two_reviewers_are_told_of_each_other(visit: Visits, context: ConsoleContext) -> None:
    await fill(context.database, context.pack, 5)
    jobs = await queue.listed(context.database, queue.Filters(), limit=9, now=datetime.now(UTC))
    seen = await visit()
    await queue.lease(context.database, "ann", jobs[0].verdict_id, now=datetime.now(UTC), lease_s=300)
    await seen.page.locator(f"#job-{jobs[0].seq}").click()
    await expect(seen.page.get_by_text("Another reviewer has that one now.")).to_be_visible()
    await expect(seen.page.locator(f"#job-{jobs[0].seq}")).to_be_disabled()


async def test_a_block_is_overturned_only_with_a_reason(visit: Visits, context: ConsoleContext) -> None:
    made = await fill(context.database, context.pack, 14)
    blocked = next(one for one in made if one.decision == "block")
    seen = await visit()
    seen.expected = ("422",)
    await seen.go(f"/verdicts/{blocked.verdict_id}")
    await seen.page.get_by_role("button", name="Overturn: allow").click()
    await expect(seen.page.get_by_role("alert").last).to_contain_text("say why")
    assert await reviews.of_verdict(context.database, blocked.verdict_id) == []
    await seen.page.fill("#reason", "A museum's catalogue")
    await seen.page.get_by_role("button", name="Overturn: allow").click()
    await expect(seen.page.locator(".history").first).to_contain_text("A museum's catalogue")
    await seen.page.get_by_role("button", name="Undo").click()
    await expect(seen.page.get_by_text("Nobody has decided on it yet.")).to_be_visible()


async def test_a_session_that_ends_leads_to_the_log_in(visit: Visits, context: ConsoleContext) -> None:
    seen = await visit()
    seen.expected = ("401",)
    await seen.page.context.clear_cookies()
    await expect(seen.page).to_have_url(re.compile("/login"))


async def _verdict_of(context: ConsoleContext, post_id: str) -> str:
    return (await verdicts.of_post(context.database, post_id))[0].verdict.verdict_id


async def _one_more(context: ConsoleContext, name: str) -> None:
    told = TOLD[0]
    made = judged(told, context.pack, name, datetime.now(UTC), rng=np.random.default_rng(1))
    await keep(context.database, told, made)
