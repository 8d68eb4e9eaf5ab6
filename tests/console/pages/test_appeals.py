"""An appeal as a reviewer meets it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from playwright.async_api import expect

from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import appeals, reviews, verdicts
from tests.contracts.examples import verdict


async def test_an_appeal_stands_in_the_queue_and_is_decided_there(
    context: ConsoleContext, visit: Callable[..., Any]
) -> None:
    made = verdict(judged_at=datetime.now(UTC))
    async with context.database.begin() as connection:
        await verdicts.put(connection, made, made.judged_at)
    await appeals.file(context, made.verdict_id, actor="key:platform")
    seen = await visit()
    await seen.go("/")
    await seen.page.get_by_role("button", name="Appeal").click()
    await expect(seen.page.get_by_text("An appeal against the block. Decide anew.")).to_be_visible()
    await seen.page.get_by_role("textbox", name="Reason").fill("a kettle")
    await seen.page.keyboard.press("Escape")
    await seen.page.keyboard.press("1")
    await expect(seen.page.get_by_text("Nothing waits.")).to_be_visible()
    (outcome,) = await reviews.of_verdict(context.database, made.verdict_id)
    assert (outcome.decision, outcome.reviewer, outcome.reason) == ("allow", "mei", "a kettle")
