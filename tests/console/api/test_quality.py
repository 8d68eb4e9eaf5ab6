"""`GET /v1/quality`: estimates of error rates, or why there is none."""

import pytest

from tests.console.api.callers import ON_SQLITE, Api, problem
from tests.console.audited_stream import keep_stream

pytestmark = ON_SQLITE


async def test_error_rates_are_told_with_intervals_and_labels(quiet_api: Api) -> None:
    await keep_stream(quiet_api.context.database)
    async with quiet_api.caller(await quiet_api.new_key("read")) as caller:
        async with caller.get("/v1/quality") as answer:
            assert answer.status == 200, await answer.text()
            told = await answer.json()
        assert (told["verdicts"], told["answered"], told["slices"]) == (2200, 300, [])
        assert told["policies"][0]["policy_id"] is None
        async with caller.get("/v1/quality", params={"policy_id": "weapon_sale", "days": 7}) as answer:
            detail = await answer.json()
    (policy,) = detail["policies"]
    recall = next(one for one in policy["estimates"] if one["measure"] == "recall")
    assert recall["value"] == pytest.approx(160 / 280)
    assert recall["low"] < recall["value"] < recall["high"]
    assert (recall["labels"], recall["positives"], recall["refusal"]) == (300, 92, None)
    assert policy["agreement"]["cohens_kappa"] is not None
    assert {one["kind"] for one in detail["slices"]} == {"language", "attribution", "version"}
    assert detail["power"]


async def test_without_audits_it_says_so_and_wrong_days_are_refused(quiet_api: Api) -> None:
    async with quiet_api.caller(await quiet_api.new_key("read")) as caller:
        async with caller.get("/v1/quality", params={"policy_id": "weapon_sale"}) as answer:
            (policy,) = (await answer.json())["policies"]
        assert {one["refusal"] for one in policy["estimates"]} == {"few_labels"}
        async with caller.get("/v1/quality", params={"days": 0}) as answer:
            assert await problem(answer) == (422, "wrong_fields")
