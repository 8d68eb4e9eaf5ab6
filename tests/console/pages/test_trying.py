"""Try it and the policies' cases, by the bundled model; what is exported is what `calibrate` reads."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.async_api import expect
from sqlalchemy import func, select

from moderation_service.console.accounts import users
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import tables
from moderation_service.console.store.quality import results
from moderation_service.evaluation.reviews import of_verdicts
from moderation_service.policies.pack import load_pack
from moderation_service.settings import PolicySettings
from tests.console.pages.browsing import PASSWORD
from tests.console.pages.filled import fill

Visits = Callable[..., Any]


async def rows(context: ConsoleContext) -> list[int]:
    """How many verdicts, posts and records to be sent there are."""
    async with context.database.connect() as connection:
        counts = [select(func.count()).select_from(table) for table in (tables.verdicts, tables.posts, tables.outbox)]
        return [(await connection.execute(count)).scalar_one() for count in counts]


async def test_a_verdict_appears_as_one_types_and_nothing_is_kept(
    judging: ConsoleContext, visit: Visits, weapon: Path
) -> None:
    seen = await visit()
    seen.expected = ("htmx:",)  # a question is dropped for a newer one
    before = await rows(judging)
    await seen.go("/try")
    await expect(seen.page.locator("#result")).to_contain_text("The verdict appears here.")
    await seen.page.set_input_files("input[type=file]", weapon)
    await expect(seen.page.locator("#drop canvas")).to_be_visible()
    await expect(seen.page.locator("#result .chip").first).to_be_visible()
    await seen.page.fill("#text", "Lightly used, DM me for the price")
    sale = seen.page.locator(".evidence", has_text="Sale of weapons")
    await expect(sale).to_contain_text("Only together:")
    await expect(sale.locator(".measure")).to_have_count(3)
    await seen.page.get_by_role("link", name="Start again").click()
    await expect(seen.page.locator("#drop canvas")).to_be_hidden()
    assert await rows(judging) == before


async def test_what_cannot_be_tried_is_said(judging: ConsoleContext, visit: Visits, tmp_path: Path) -> None:
    seen = await visit()
    seen.expected = ("413", "422", "htmx:")
    await seen.go("/try")
    await seen.page.get_by_role("button", name="Judge").click()
    await expect(seen.page.locator("#result")).to_contain_text("Type some words, or drop a picture.")
    (tmp_path / "no.png").write_bytes(b"no picture")
    await seen.page.set_input_files("input[type=file]", tmp_path / "no.png")
    await expect(seen.page.locator("#result .chip").first).to_have_text("Abstained")
    (tmp_path / "large.png").write_bytes(b"x" * (judging.settings.media.max_bytes + 300_000))
    await seen.page.set_input_files("input[type=file]", tmp_path / "large.png")
    await expect(seen.page.locator("#result")).to_contain_text("That is too large to judge.")


async def test_a_console_that_judges_nothing_says_so(visit: Visits) -> None:
    seen = await visit()
    await seen.go("/try")
    await expect(seen.page.locator("main")).to_contain_text("Judging is off in this console.")


async def test_cases_are_run_and_their_results_are_kept(judging: ConsoleContext, visit: Visits) -> None:
    judging.pack = load_pack(PolicySettings().path)
    seen = await visit()
    await seen.go("/policies/weapon_sale")
    await expect(seen.page.locator("#cases .chip").first).to_have_text("not run")
    await seen.page.get_by_role("button", name="Run them").click()
    await expect(seen.page.locator("#cases")).to_contain_text("UTC", timeout=90_000)
    kept = await results(judging.database)
    policy = next(one for one in judging.pack.policies if one.id == "weapon_sale")
    assert {row.case_name for row in kept} == {case.name for case in policy.cases}
    right = sum(row.as_expected for row in kept)
    await expect(seen.page.locator("#cases .chip.is-green")).to_have_count(right)
    assert right > len(kept) / 2


async def test_cases_without_their_images_and_a_judge_with_no_seat_are_said(
    judging: ConsoleContext, visit: Visits, tmp_path: Path
) -> None:
    shutil.copy(judging.settings.policies.path / "weapon_sale.yaml", tmp_path)
    alone = judging.settings.policies.model_copy(update={"path": tmp_path})
    seen = await visit()
    seen.expected = ("422",)
    await seen.go("/policies/weapon_sale")
    with judging.slots.take(judging.settings.console.max_in_flight):
        await seen.page.get_by_role("button", name="Run them").click()
        await expect(seen.page.locator("#cases")).to_contain_text("The judge is busy or off.")
    judging.settings = judging.settings.model_copy(update={"policies": alone})
    await seen.page.get_by_role("button", name="Run them").click()
    await expect(seen.page.locator("#cases")).to_contain_text("moderation policies test")
    assert await results(judging.database) == []


async def test_a_reviewer_exports_nothing(visit: Visits) -> None:
    seen = await visit()
    await seen.go("/policies")
    await expect(seen.page.get_by_role("link", name="verdicts.jsonl")).to_have_count(0)
    for name in ("reviews", "verdicts"):
        answer = await seen.page.context.request.get(f"{seen.address}/policies/{name}.jsonl")
        assert answer.status == 403


async def test_the_export_is_what_calibrate_reads(context: ConsoleContext, visit: Visits) -> None:
    await fill(context.database, context.pack, 28, decided=28)
    await users.add(context.database, context.settings.kafka, "ann", PASSWORD, role="admin", actor="user:test")
    seen = await visit("ann")
    await seen.go("/policies")
    lines: dict[str, list[Any]] = {}
    for name in ("reviews", "verdicts"):
        async with seen.page.expect_download() as started:
            await seen.page.get_by_role("link", name=f"{name}.jsonl").click()
        path = await (await started.value).path()
        lines[name] = [(name, json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    source, left_out = of_verdicts(lines["reviews"], lines["verdicts"])
    assert "weapon_sale" in source.policies
    assert all("labels nothing" in one.why for one in left_out)
