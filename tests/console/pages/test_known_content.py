"""What a reviewer is shown of a post that stands in a bank."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
from playwright.async_api import expect

from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import verdicts
from moderation_service.contracts.bank import BankMatch
from moderation_service.contracts.enums import DecidedBy
from tests.console.pages.filled import TOLD, judged
from tests.contracts.examples import DIGEST

Visits = Callable[..., Any]
GIVEN: dict[str, Any] = {"digest": DIGEST, "severity": 3, "route": None}
NEAR = BankMatch(
    bank="fakes", kind="image_pdq", entry="e-1", action="block", policy=None, image=0, distance=12, **GIVEN
)
LINK = BankMatch(bank="scams", kind="urls", entry="e-2", action="review", policy=None, shortener="bit.ly", **GIVEN)
SHADOW = BankMatch(bank="tried", kind="image_sha256", entry="e-3", action="block", policy=None, image=0, **GIVEN)


async def test_matches_are_shown_with_what_follows_from_them_and_shadow_ones_apart(
    context: ConsoleContext, visit: Visits
) -> None:
    made = judged(TOLD[0], context.pack, "p-1", datetime.now(UTC), rng=np.random.default_rng(1))
    image = made.content.images[0].model_copy(update={"text": "Call [phone]"})
    content = made.content.model_copy(update={"images": (image,)})
    known = {
        "content": content,
        "matches": (NEAR, LINK),
        "shadow_matches": (SHADOW,),
        "decided_by": DecidedBy.BANK,
        "similar_to": "v-0",
    }
    async with context.database.begin() as connection:
        stored = made.model_copy(update=known)
        await verdicts.put(connection, stored, stored.judged_at)
    seen = await visit()
    await seen.go(f"/verdicts/{stored.verdict_id}")
    await expect(seen.page.locator(".post")).to_contain_text("Words in picture 1 Call [phone]")
    found = seen.page.locator(".found .why")
    await expect(found.nth(0)).to_contain_text("near copy of one in the bank fakes: 12 of 256 bits differ.")
    await expect(found.nth(1)).to_contain_text("A link is in the bank scams")
    await expect(found.nth(1)).to_contain_text("(a shortened link)")
    assert await found.count() == 2
    await expect(seen.page.locator("section", has_text="In shadow")).to_contain_text("in the bank tried")
    await expect(seen.page.get_by_role("link", name="v-0")).to_be_visible()
