"""The queue of child safety: who sees it, images that stay hidden, an audit entry for each look, decisions, reports."""

import asyncio
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image
from playwright.async_api import expect
from pydantic import SecretStr
from sqlalchemy import select

from moderation_service.child_safety.legal_hold import LegalHold
from moderation_service.console.accounts import users
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import verdicts
from moderation_service.console.store.tables import outbox
from moderation_service.contracts.bank import BankAction, BankMatch
from moderation_service.contracts.enums import Route
from moderation_service.contracts.verdict import Verdict
from moderation_service.settings import ChildSafetySettings
from tests.console.pages.browsing import DESK, PASSWORD
from tests.console.pages.test_accessible import found
from tests.console.pages.test_images import keep
from tests.contracts.examples import DIGEST, verdict

CASE = "c" * 32
MATCH = BankMatch(
    bank="ncmec",
    kind="image_pdq",
    entry="e-1",
    action=BankAction.BLOCK,
    policy=None,
    severity=5,
    route=Route.CHILD_SAFETY,
    digest=DIGEST,
    distance=14,
    image=0,
)


def routed() -> Verdict:
    match = {"route": "child_safety", "decided_by": "bank", "matches": (MATCH,), "policies": ()}
    return verdict(verdict_id=CASE, judged_at=datetime.now(UTC), metadata={}, **match)


@pytest_asyncio.fixture(loop_scope="session")
async def hold(context: ConsoleContext, tmp_path: Path, weapon: Path) -> LegalHold:
    """A legal hold with one case, whose verdict the console has; `eve` has the permission."""
    (tmp_path / "hold").mkdir()
    key = SecretStr("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
    made = LegalHold(ChildSafetySettings(hold_path=tmp_path / "hold", hold_key=key))
    image, held = await asyncio.to_thread(weapon.read_bytes), datetime.now(UTC) - timedelta(days=30)
    made.put(routed(), record=b"{}", origin={}, images=[image], now=held)
    context.legal_hold = made
    async with context.database.begin() as connection:
        await verdicts.put(connection, routed(), datetime.now(UTC))
    kafka = context.settings.kafka
    permissions: Any = ["child_safety"]
    await users.add(
        context.database, kafka, "eve", PASSWORD, role="reviewer", actor="user:test", permissions=permissions
    )
    await users.add(context.database, kafka, "root", PASSWORD, role="admin", actor="user:test")
    return made


async def sent(context: ConsoleContext, topic: str) -> list[dict[str, Any]]:
    """What waits to go to this topic."""
    async with context.database.connect() as connection:
        values = (await connection.execute(select(outbox.c.value).where(outbox.c.topic == topic))).scalars()
        return [json.loads(value) for value in values]


@pytest.mark.parametrize("user", ["mei", "root"])
async def test_it_is_for_those_alone_who_have_the_permission(
    visit: Callable[..., Any], context: ConsoleContext, hold: LegalHold, user: str
) -> None:
    seen = await visit(user)
    assert await seen.page.locator("nav a[href='/child-safety']").count() == 0
    for path in ("", f"/{CASE}", f"/{CASE}/pictures/0"):
        assert (await seen.page.request.get(f"{seen.address}/child-safety{path}")).status == 403
    assert (await seen.page.request.get(f"{seen.address}/verdicts/{CASE}")).status == 404
    assert CASE not in await (await seen.page.request.get(f"{seen.address}/verdicts")).text()
    assert [one["action"] for one in await sent(context, context.settings.kafka.audit_topic) if CASE in str(one)] == []
    assert hold.is_held("p-17")


async def test_a_case_is_looked_at_reported_and_decided(
    visit: Callable[..., Any], context: ConsoleContext, hold: LegalHold, tmp_path: Path
) -> None:
    folder = Path(os.environ.get("CONSOLE_IMAGES", tmp_path))
    seen = await visit("eve", color_scheme="light", **DESK)
    await seen.page.click("nav a[href='/child-safety']")
    await keep(seen, folder / "console-child-safety.png")
    assert await found(seen) == []
    await seen.page.click("tbody a")
    assert await seen.page.locator("img.grey").count() == 0
    assert (await seen.page.request.get(f"{seen.address}/child-safety/{CASE}/pictures/0")).status == 403
    await seen.page.click("text=Show…")
    await seen.page.click("text=Show them to me")
    source = await seen.page.locator("img.grey").get_attribute("src")
    await keep(seen, folder / "console-child-safety-case.png")
    assert await found(seen) == []
    answer = await seen.page.request.get(f"{seen.address}{source}")
    assert answer.headers["cache-control"] == "no-store"
    shown = np.asarray(Image.open(BytesIO(await answer.body())).convert("RGB"), dtype=int)
    assert max(shown.shape) <= 192
    assert shown.std() > 1
    assert np.ptp(shown, axis=2).max() < 8  # grey
    audited = await sent(context, context.settings.kafka.audit_topic)
    looks = [one for one in audited if one["action"] == "legal_hold.read"]
    assert {(one["actor"], one["target"]) for one in looks} == {("reviewer:eve", CASE)}
    assert len(looks) >= 2
    await seen.page.fill("input[name=report_id]", "r-2258")
    await seen.page.click("text=Reported today")
    await expect(seen.page.locator(".proof")).to_contain_text("r-2258")
    until = (datetime.now(UTC) + timedelta(days=365)).date()
    assert abs(hold.case(CASE).hold_until - until) <= timedelta(days=1)
    await seen.page.click("button:has-text('False match')")
    await expect(seen.page.locator("tbody")).to_contain_text("false match")
    await seen.go("/")
    await seen.page.click(".toast button")  # it can be undone like any other
    await expect(seen.page.locator(".proof")).to_contain_text("r-2258")
    assert await sent(context, context.settings.kafka.review_topic) == []
    await seen.page.click("button:has-text('False match')")
    await expect(seen.page.locator("tbody")).to_contain_text("false match")
    (review,) = await sent(context, context.settings.kafka.review_topic)
    assert (review["verdict_id"], review["decision"], review["reviewer"]) == (CASE, "allow", "eve")
    assert hold.is_held("p-17")
