"""`GET /v1/policies`: what a caller may rely on being checked."""

from typing import get_args

from moderation_service.contracts.statement import DsaCategory
from moderation_service.policies.categories import AiluminateCategory, OpenAICategory
from tests.console.api.callers import ON_SQLITE, Api, problem

pytestmark = ON_SQLITE


async def test_it_lists_the_policies_in_force_and_says_by_which_a_machine_may_block(quiet_api: Api) -> None:
    async with quiet_api.caller() as http, http.get("/v1/policies") as answer:
        told = await answer.json()
    pack = quiet_api.context.pack
    assert told["digest"] == pack.digest
    assert [policy["id"] for policy in told["policies"]] == [policy.id for policy in pack.enforced]
    assert {policy["id"] for policy in told["policies"] if not policy["may_block"]} == {"weapon_display"}
    assert told["policies"][0]["title"]["en"] == pack.enforced[0].title.in_language("en")


async def test_each_category_of_each_taxonomy_is_told_with_the_policies_that_cover_it(quiet_api: Api) -> None:
    async with quiet_api.caller() as http, http.get("/v1/policies") as answer:
        told = (await answer.json())["categories"]
    covering = {(one["taxonomy"], one["category"]): one["policies"] for one in told}
    assert {category for taxonomy, category in covering if taxonomy == "openai"} == {*get_args(OpenAICategory)}
    assert {category for taxonomy, category in covering if taxonomy == "dsa"} == {*get_args(DsaCategory)}
    assert {category for taxonomy, category in covering if taxonomy == "ailuminate"} == {*get_args(AiluminateCategory)}
    assert covering["openai", "illicit/violent"] == ["weapon_sale"]
    assert covering["openai", "sexual"] == []


async def test_it_takes_a_key_that_may_judge(quiet_api: Api) -> None:
    async with (
        quiet_api.caller(await quiet_api.new_key("banks")) as http,
        http.get("/v1/policies") as refused,
    ):
        assert await problem(refused) == (403, "wrong_scope")
