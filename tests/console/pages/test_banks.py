"""Banks in the pages: a reviewer with the permission adds an image, finds it in the past, and removes it."""

from collections.abc import Awaitable, Callable

from playwright.async_api import expect

from moderation_service.console.accounts import users
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import verdicts
from moderation_service.contracts.bank import Bank
from moderation_service.contracts.verdict import ImageContent
from tests.console.pages.browsing import DESK, PASSWORD, PHONE, Visit
from tests.console.pages.filled import fill
from tests.console.pages.test_accessible import found

Visits = Callable[..., Awaitable[Visit]]


async def test_an_image_is_added_sent_to_review_and_removed(visit: Visits, context: ConsoleContext) -> None:
    context.banks.put_bank(Bank(name="spam", action="block", policy="weapon_sale", source="our own"))
    context.banks.put_bank(Bank(name="hidden", action="escalate", route="child_safety"))
    kafka = context.settings.kafka
    await users.add(context.database, kafka, "bea", PASSWORD, role="reviewer", permissions=["banks"], actor="user:test")
    blocked = next(one for one in await fill(context.database, context.pack, 14) if one.decision == "block")
    image = ImageContent.model_validate(
        {**blocked.content.images[0].model_dump(), "sha256": "c" * 64, "pdq": "0f" * 32, "pdq_quality": 90}
    )
    content = blocked.content.model_copy(update={"images": (image,)})
    known = {"content": content, "decision": "allow", "policies": ()}
    for name in ("copy", "one-more"):
        made = blocked.model_copy(update={**known, "verdict_id": name, "post_id": name})
        async with context.database.begin() as connection:
            await verdicts.put(connection, made, made.judged_at)

    mei = await visit()
    await mei.go("/verdicts/copy")
    await expect(mei.page.locator("#add-to-bank")).to_have_count(0)

    seen = await visit("bea", **DESK)
    seen.expected = ("422",)
    await seen.go("/verdicts/copy")
    await seen.page.get_by_text("Add a picture to a bank").click()
    assert await seen.page.locator("select[name=bank] option").all_text_contents() == ["", "spam"]
    await seen.page.select_option("select[name=bank]", "spam")
    await seen.page.fill("textarea[name=reason] >> nth=-1", "Campaign of May")
    assert await found(seen) == []
    await seen.page.fill("input[name=expires]", "2020-01-01")
    await seen.page.get_by_role("button", name="Add to the bank").click()
    await expect(seen.page.get_by_text("still to come")).to_be_visible()
    await seen.page.go_back()
    await seen.page.get_by_text("Add a picture to a bank").click()
    await seen.page.select_option("select[name=bank]", "spam")
    await seen.page.fill("input[name=expires]", "")
    await seen.page.fill("#add-to-bank textarea", "Campaign of May")
    await seen.page.get_by_role("button", name="Add to the bank").click()
    await expect(seen.page.locator("tbody tr")).to_have_count(2)
    assert await found(seen) == []
    await seen.page.get_by_role("button", name="Send 2 posts to review").click()
    await expect(seen.page.get_by_text("in the queue")).to_have_count(2)

    await seen.go("/")
    await expect(seen.page.locator(".job .title", has_text="matches spam/")).to_have_count(2)
    await seen.go("/banks")
    await expect(seen.page.locator("tbody tr")).to_have_count(1)
    assert await found(seen) == []
    await seen.page.get_by_role("link", name="spam").click()
    await expect(seen.page.locator(".history")).to_contain_text("Campaign of May")
    assert await found(seen) == []
    await seen.page.locator(".history a").click()
    await seen.page.get_by_role("button", name="Remove from the bank").click()
    await expect(seen.page.locator(".history")).to_contain_text("removed")

    small = await visit("bea", **PHONE, locale="zh-CN")
    await small.go("/banks")
    wide = await small.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    assert not wide
