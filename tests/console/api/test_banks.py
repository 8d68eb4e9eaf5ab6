"""`/v1/banks`: what callers may read of banks, add, remove and send to review."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from moderation_service.console.store import verdicts
from moderation_service.contracts.bank import Bank
from moderation_service.settings import BankSettings
from tests.console.api.callers import ON_SQLITE, Api, problem
from tests.contracts.examples import CONTENT, IMAGE, verdict

pytestmark = ON_SQLITE
KNOWN = IMAGE.model_copy(update={"sha256": "c" * 64, "pdq": "0f" * 32, "pdq_quality": 90})


@pytest.fixture
async def banks(quiet_api: Api) -> Api:
    """A console with two banks and a verdict on an image."""
    quiet_api.context.banks.put_bank(Bank(name="spam", action="block"))
    quiet_api.context.banks.put_bank(Bank(name="hidden", action="escalate", route="child_safety"))
    content = CONTENT.model_copy(update={"images": (KNOWN, IMAGE)})
    async with quiet_api.context.database.begin() as connection:
        await verdicts.put(connection, verdict(content=content, decision="allow", policies=()), datetime.now(UTC))
    return quiet_api


async def test_an_image_is_added_matched_back_sent_to_review_and_removed(banks: Api) -> None:
    async with banks.caller(await banks.new_key("banks")) as caller:
        asked = {"kind": "image_pdq", "verdict_id": "v-1", "reason": "campaign of May", "reviewer": "mei"}
        async with caller.post("/v1/banks/spam/entries", json=asked) as answer:
            assert answer.status == 201, await answer.text()
            entry = await answer.json()
        assert (entry["value"], entry["source"], entry["note"]) == (KNOWN.pdq, "key:tests/mei", "campaign of May")
        matches = f"/v1/banks/spam/entries/{entry['id']}/matches"
        async with caller.get(matches) as answer:
            (past,) = (await answer.json())["matches"]
        assert (past["verdict_id"], past["image"], past["distance"], past["sendable"]) == ("v-1", 0, 0, True)
        for expected in (1, 0):
            async with caller.post(f"{matches}/review") as answer:
                assert await answer.json() == {"sent": expected}
        async with caller.delete(f"/v1/banks/spam/entries/{entry['id']}") as answer:
            assert answer.status == 204
        async with caller.delete(f"/v1/banks/spam/entries/{entry['id']}") as answer:
            assert await problem(answer) == (404, "not_found")


async def test_banks_are_listed_but_for_those_with_a_route(banks: Api) -> None:
    for scopes, expected in ((["banks"], ["spam"]), (["banks", "child_safety"], ["hidden", "spam"])):
        async with banks.caller(await banks.new_key(*scopes)) as caller, caller.get("/v1/banks") as answer:
            told = (await answer.json())["banks"]
        assert [one["properties"]["name"] for one in told] == expected
        assert told[-1]["precision"] is None


@pytest.mark.parametrize(
    ("bank", "changes", "expected"),
    [
        ("none", {}, (404, "not_found")),
        ("hidden", {}, (404, "not_found")),
        ("spam", {"verdict_id": "v-2"}, (404, "not_found")),
        ("spam", {"image": 1}, (422, "wrong_fields")),
        ("spam", {"value": "x"}, (422, "wrong_fields")),
        ("spam", {"reason": ""}, (422, "wrong_fields")),
        ("spam", {"kind": "terms"}, (422, "wrong_fields")),
        ("spam", {"kind": "urls", "verdict_id": None, "value": "co.uk"}, (422, "wrong_fields")),
        ("spam", {"verdict_id": None, "value": "no digits"}, (422, "wrong_fields")),
    ],
)
async def test_what_can_not_be_added_is_refused(
    banks: Api, bank: str, changes: dict[str, object], expected: tuple[int, str]
) -> None:
    asked = {"kind": "image_pdq", "verdict_id": "v-1", "reason": "spam", **changes}
    key = await banks.new_key("banks")
    async with banks.caller(key) as caller, caller.post(f"/v1/banks/{bank}/entries", json=asked) as answer:
        assert await problem(answer) == expected


async def test_a_bank_that_is_a_file_and_a_key_without_the_scope_are_refused(banks: Api, tmp_path: Path) -> None:
    (tmp_path / "spam.jsonl").touch()
    settings = banks.context.settings
    banks.context.settings = settings.model_copy(update={"banks": BankSettings(path=tmp_path)})
    asked = {"kind": "terms", "value": "free crypto", "reason": "spam"}
    for scope, expected in (("banks", (409, "bank_fixed")), ("review", (403, "wrong_scope"))):
        key = await banks.new_key(scope)
        async with banks.caller(key) as caller, caller.post("/v1/banks/spam/entries", json=asked) as answer:
            assert await problem(answer) == expected
