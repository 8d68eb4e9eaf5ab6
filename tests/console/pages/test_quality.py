"""The page Quality: estimates with the labels behind them, filtered, and in detail."""

from collections.abc import Awaitable, Callable

from playwright.async_api import expect

from moderation_service.console.context import ConsoleContext
from tests.console.audited_stream import keep_stream
from tests.console.pages.browsing import DESK, Visit
from tests.console.pages.test_accessible import found

Visits = Callable[..., Awaitable[Visit]]


async def test_error_rates_are_shown_with_the_labels_behind_them(visit: Visits, context: ConsoleContext) -> None:
    seen = await visit(**DESK)
    await seen.go("/quality")
    await expect(seen.page.get_by_text("No audits were answered")).to_be_visible()
    await keep_stream(context.database)
    await seen.go("/quality")
    rows = seen.page.locator("tbody tr")
    await expect(rows.first).to_contain_text("Decision on the post")
    await expect(rows.first).to_contain_text("57%")
    await expect(rows.first).to_contain_text("300 labels, 92 positives")
    await expect(seen.page.get_by_text("too few labels").first).to_be_visible()
    assert await found(seen) == []
    await seen.page.get_by_role("link", name="7 days").click()
    await seen.page.get_by_role("link", name="Chinese", exact=True).click()
    await expect(rows.first).to_contain_text("75 labels")
    await seen.page.get_by_role("link", name="all", exact=True).click()
    await seen.page.get_by_role("link", name="Sale of weapons").click()
    await expect(seen.page.get_by_role("region", name="Slices")).to_contain_text("words and picture together")
    await expect(seen.page.get_by_text("Audits a day, and the interval")).to_be_visible()
    assert await found(seen) == []
