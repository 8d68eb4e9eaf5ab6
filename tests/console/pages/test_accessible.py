"""Every page by axe-core, in light and in dark."""

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe

from moderation_service.console.context import ConsoleContext
from tests.console.pages.browsing import DESK, PHONE, Visit
from tests.console.pages.filled import fill, ran

Visits = Callable[..., Any]
GRAVE = {"serious", "critical"}


async def found(seen: Visit) -> list[str]:
    """Each grave violation with the first element that has it."""
    results = await Axe().run(seen.page)
    return [
        f"{seen.page.url}: {one['id']}: {one['nodes'][0]['html']} {one['nodes'][0]['failureSummary']}"
        for one in results.response["violations"]
        if one["impact"] in GRAVE
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_no_page_has_a_serious_fault(
    context: ConsoleContext, visit: Visits, scheme: str, size: dict[str, Any]
) -> None:
    made = await fill(context.database, context.pack, 42, decided=14)
    await ran(context.database, context.pack)
    out = await visit(user=None, color_scheme=scheme, **size)
    await out.go("/login")
    faults = await found(out)
    seen = await visit(color_scheme=scheme, locale="zh-CN" if scheme == "dark" else "en-GB", **size)
    seen.expected = ("409", "422")
    faults += await found(seen)
    await seen.page.locator("#idle button").click()
    await seen.page.wait_for_selector(".case")
    faults += await found(seen)
    await seen.page.locator("[data-toggles]").click()
    await seen.page.wait_for_selector(".correction")
    faults += await found(seen)
    await seen.page.locator(".verbs .block").click()
    await seen.page.wait_for_selector(".toast button")
    faults += await found(seen)
    blocked = next(one for one in made if one.decision == "block")
    unsure = next(one for one in made if one.decision == "abstain")
    paths = ("/verdicts", "/try", "/policies", "/policies/weapon_sale", "/overview", "/verdicts?post_id=nobody")
    for path in (*paths, f"/verdicts/{blocked.verdict_id}", f"/verdicts/{unsure.verdict_id}"):
        await seen.go(path)
        faults += await found(seen)
    assert faults == []


async def test_an_empty_console_has_none_either(visit: Visits) -> None:
    seen = await visit()
    faults = []
    for path in ("/", "/verdicts", "/policies", "/overview"):
        await seen.go(path)
        faults += await found(seen)
    assert faults == []
