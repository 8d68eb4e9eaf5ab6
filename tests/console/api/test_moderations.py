"""OpenAI's own client, unchanged, against `/v1/moderations`."""

import base64
from ipaddress import ip_network
from typing import Any, get_args

import openai
import pytest
from aiohttp import web
from openai import AsyncOpenAI, UnprocessableEntityError
from prometheus_client import REGISTRY
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.app.compose import open_judge
from moderation_service.console.api.moderations import MOST_INPUTS, moderation_of
from moderation_service.console.store.tables import outbox, verdicts
from moderation_service.contracts.bank import Bank, BankEntry
from moderation_service.contracts.enums import AttributionClass
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Attribution, Verdict
from moderation_service.demo.samples import posts
from moderation_service.judging.judge import Judge
from moderation_service.policies.categories import OpenAICategory
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import MediaSettings, Settings
from tests.console.api.callers import ON_SQLITE, Api, running, serving
from tests.console.support import console_settings, shipped_pack

pytestmark = ON_SQLITE

THREAT = "I will find you and break your legs"
HARMLESS = "What a lovely evening by the river"


def client(api: Api, key: str | None = None) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{api.address}/v1", api_key=key or api.key, max_retries=0)


def weapon_for_sale() -> Post:
    return next(posts("s"))


def parts(post: Post) -> list[Any]:
    urls = [f"data:{image.media_type};base64,{image.data}" for image in post.images]
    return [{"type": "text", "text": post.text}, *({"type": "image_url", "image_url": {"url": url}} for url in urls)]


async def test_a_text_has_openais_categories_and_the_policies(api: Api) -> None:
    async with client(api) as openai_client:
        answer = await openai_client.moderations.create(input=THREAT, model="omni-moderation-latest")
    (result,) = answer.results
    assert answer.id.startswith("modr-")
    assert answer.model == api.context.judge.model.name  # type: ignore[union-attr]
    assert result.flagged is True
    assert result.categories.violence is True
    assert result.category_scores.violence == pytest.approx(result.category_scores.model_dump()["violence"])
    ids = {policy.id for policy in api.context.pack.enforced}
    for told in (result.categories, result.category_scores, result.category_applied_input_types):
        assert told.model_dump(by_alias=True).keys() == {*get_args(OpenAICategory), *ids}
    assert result.category_applied_input_types.violence == ["text"]
    assert result.category_applied_input_types.sexual_minors == []  # no policy here asks about it
    assert (result.categories.sexual_minors, result.category_scores.sexual_minors) == (False, 0.0)


async def test_it_says_which_categories_a_policy_was_asked_about(api: Api) -> None:
    pack = api.context.pack
    async with client(api) as openai_client:
        (result,) = (await openai_client.moderations.create(input=THREAT)).results
    covered = set(result.covered_categories)  # type: ignore[attr-defined] # beside OpenAI's own
    assert covered <= {name for policy in pack.enforced for name in (policy.id, *policy.openai_category)}
    assert {"violence", "doxxing"} <= covered
    assert "sexual/minors" not in covered


@pytest.mark.parametrize(
    ("required", "missing"),
    [
        (["violence", "doxxing"], None),
        ([], None),
        (["violence", "sexual"], "sexual"),
        (["*"], "sexual/minors"),
        (["x"], "x"),
    ],
)
async def test_a_category_that_is_required_and_not_covered_is_refused(
    api: Api, required: list[str], missing: str | None
) -> None:
    async with client(api) as openai_client:
        call = openai_client.moderations.create(input=THREAT, extra_body={"categories": required})
        if missing is None:
            assert (await call).results[0].flagged
        else:
            with pytest.raises(UnprocessableEntityError, match="no policy covers") as refused:
                await call
            assert missing in str(refused.value)
            assert refused.value.code == "not_covered"


async def test_the_owner_may_require_categories_of_every_request(
    database: AsyncEngine, database_url: str, judge: Judge
) -> None:
    """A client that was written for OpenAI names none, and would read "false" where nothing is checked.

    The refusal names the setting, for the client sent no `categories`.
    """
    strict = console_settings(database_url, judging_backend="local", require_categories=["violence", "sexual"])
    async with running(database, strict, judge) as api, client(api) as openai_client:
        with pytest.raises(UnprocessableEntityError, match=r"console.require_categories: no policy covers sexual"):
            await openai_client.moderations.create(input=THREAT)
        own = {"categories": ["violence"]}
        assert (await openai_client.moderations.create(input=THREAT, extra_body=own)).results[0].flagged


async def test_requests_are_counted_by_the_template_of_their_path(api: Api) -> None:
    def count(route: str, status: int) -> float:
        labels = {"route": route, "status": str(status)}
        return REGISTRY.get_sample_value("moderation_http_requests_total", labels) or 0.0

    expected = [("/v1/verdicts/{verdict_id}", 404), ("/v1/verdicts", 200), ("other", 404), ("/v1/reviews", 422)]
    before = [count(*one) for one in expected]
    async with api.caller() as http:
        for path in ("/v1/verdicts/p-17", "/v1/verdicts", "/v1/no-such/p-17"):
            await http.get(path)
        await http.post("/v1/reviews", json={})
    assert [count(*one) for one in expected] == [number + 1 for number in before]
    labels = [metric.labels for family in REGISTRY.collect() for metric in family.samples if "_http_" in metric.name]
    assert not any("p-17" in value for one in labels for value in one.values())


async def test_several_texts_are_judged_each_for_itself_and_in_order(api: Api) -> None:
    texts = [HARMLESS, THREAT, HARMLESS, THREAT]
    async with client(api) as openai_client:
        answer = await openai_client.moderations.create(input=texts)
    assert [result.categories.violence for result in answer.results] == [False, True, False, True]


async def test_words_and_an_image_are_judged_together_and_say_where_the_violation_is(api: Api) -> None:
    weapon = weapon_for_sale()
    judge = api.context.judge
    assert judge is not None
    async with client(api) as openai_client:
        (result,) = (await openai_client.moderations.create(input=parts(weapon))).results
        (alone,) = (await openai_client.moderations.create(input=weapon.text)).results
    verdict = (await judge.judge(weapon, trace_id="a" * 32, published=False)).verdict
    expected = moderation_of(verdict, judge.pack)
    sale = next(part for part in verdict.policies if part.policy_id == "weapon_sale")
    assert sale.attribution is not None
    assert (result.flagged, alone.flagged) == (True, False)
    assert result.categories.illicit_violent is True
    assert result.category_scores.illicit_violent == pytest.approx(sale.score, abs=1e-3)
    assert result.categories.model_dump(by_alias=True) == expected.categories
    assert result.category_applied_input_types.model_dump(by_alias=True) == expected.category_applied_input_types


async def test_a_policy_fills_all_its_categories(api: Api) -> None:
    judge = api.context.judge
    assert judge is not None
    both = ("violence", "harassment/threatening")
    changed = {"violence": {"openai_category": both}}
    pack = PolicyPack(tuple(one.model_copy(update=changed.get(one.id, {})) for one in judge.pack.policies))
    verdict = (await judge.judge(Post(post_id="p-1", text=THREAT), trace_id="a" * 32, published=False)).verdict
    found = moderation_of(verdict, pack)
    assert [found.categories[name] for name in both] == [True, True]
    assert found.category_scores[both[0]] == found.category_scores[both[1]]
    assert set(both) <= set(found.covered_categories)


async def test_known_content_has_the_category_of_its_banks_policy(api: Api) -> None:
    judge = api.context.judge
    assert judge is not None
    entry = BankEntry(kind="terms", value="evening by the river", id="e1")
    judge.banks.put_bank(Bank(name="scams", action="block", policy="weapon_sale"), [entry])
    try:
        async with client(api) as openai_client:
            (result,) = (await openai_client.moderations.create(input=HARMLESS)).results
    finally:
        judge.banks.remove_bank("scams")
    assert (result.flagged, result.categories.illicit_violent, result.categories.violence) == (True, True, False)
    assert result.category_scores.illicit_violent == 1
    assert result.category_applied_input_types.illicit_violent == ["text"]
    assert set(result.covered_categories) == {"weapon_sale", "illicit/violent"}  # type: ignore[attr-defined]


async def test_an_image_is_fetched_from_the_web_by_its_address(database: AsyncEngine, database_url: str) -> None:
    (image,) = weapon_for_sale().images

    def cdn(_: web.Request) -> web.Response:
        return web.Response(body=base64.b64decode(image.data or ""))

    async with serving("127.0.0.1", cdn) as port:
        media = MediaSettings(
            allowed_schemes=frozenset({"http"}),
            allowed_ports=frozenset({port}),
            allowed_networks=frozenset({ip_network("127.0.0.1/32")}),
        )
        async with (
            open_judge(Settings(media=media), shipped_pack()) as judge,
            running(database, console_settings(database_url, judging_backend="local"), judge) as api,
            client(api) as openai_client,
        ):
            part: Any = {"type": "image_url", "image_url": {"url": f"http://127.0.0.1:{port}/a.jpg"}}
            (result,) = (await openai_client.moderations.create(input=[part])).results
    assert result.model_dump()["abstain_reason"] is None
    assert result.category_applied_input_types.violence == ["image"]


async def test_nothing_of_it_is_kept_and_no_later_verdict_is_its_duplicate(api: Api) -> None:
    async with client(api) as openai_client:
        await openai_client.moderations.create(input=THREAT)
    async with api.caller() as http, http.post("/v1/posts", json={"post_id": "p", "text": THREAT}) as answer:
        assert (await answer.json())["duplicate_of"] is None
    async with api.context.database.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(verdicts))).scalar_one() == 1
        topics = set((await connection.execute(select(outbox.c.topic))).scalars())
    assert topics == {api.context.settings.kafka.audit_topic, api.context.settings.kafka.output_topic}


@pytest.mark.parametrize(
    "given", ["", [], [""], [{"type": "text"}], [{"type": "sound", "url": "a"}], [1], ["a"] * (MOST_INPUTS + 1)]
)
async def test_an_input_that_is_none_is_refused(api: Api, given: Any) -> None:
    async with client(api) as openai_client:
        with pytest.raises(openai.UnprocessableEntityError, match="input") as refused:
            await openai_client.moderations.create(input=given)
    assert refused.value.code == "wrong_fields"


async def test_the_client_knows_each_refusal_by_its_own_name(api: Api) -> None:
    async with client(api, "no-key") as nobody:
        with pytest.raises(openai.AuthenticationError):
            await nobody.moderations.create(input="a")
    async with client(api, await api.new_key("read")) as reader:
        with pytest.raises(openai.PermissionDeniedError):
            await reader.moderations.create(input="a")


def attributed(verdict: Verdict, class_: AttributionClass | None) -> Verdict:
    measured = class_ and Attribution(class_=class_, joint=0.9, text_only=0.1, image_only=0.1)
    return verdict.model_copy(
        update={"policies": tuple(one.model_copy(update={"attribution": measured}) for one in verdict.policies)}
    )


async def test_the_input_types_of_a_category_are_where_its_violation_was_measured(api: Api) -> None:
    judge = api.context.judge
    assert judge is not None
    post = weapon_for_sale()
    verdict = (await judge.judge(post, trace_id="a" * 32)).verdict
    found = {
        class_: moderation_of(attributed(verdict, class_), judge.pack).category_applied_input_types["violence"]
        for class_ in (*AttributionClass, None)
    }
    both = ["text", "image"]
    assert found == {
        "text_only": ["text"],
        "image_only": ["image"],
        **dict.fromkeys(("either", "combined", "context_mitigated", "none", None), both),
    }
