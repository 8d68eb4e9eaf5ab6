import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest

from moderation_service.contracts.engine_input import Language
from moderation_service.contracts.enums import Outcome
from moderation_service.contracts.post import ImageRef, Post
from moderation_service.contracts.schemas import json_schema
from moderation_service.contracts.statement import EEA, MAX_EXPLANATION, MAX_FACTS, MAX_GROUND, StatementOfReasons
from moderation_service.contracts.verdict import Attribution, PolicyVerdict, Verdict
from moderation_service.judging.decision import attribute
from moderation_service.judging.statement import draft_statement
from moderation_service.policies.model import Policy, Statement
from moderation_service.policies.pack import PolicyPack
from moderation_service.policies.texts import Texts
from tests.contracts.examples import POLICY, verdict
from tests.judging.conftest import Ask, MakeJudge, make_image
from tests.judging.engines import RuleEngine

TEXT, IMAGE = "CONTENT_TYPE_TEXT", "CONTENT_TYPE_IMAGE"
POST = Post(
    post_id="p-17",
    text="Anna sells this, 555-0134-77",
    language="de-AT",
    created_at=datetime(2026, 4, 30, 23, 0, tzinfo=UTC),
)


@pytest.fixture
def policies(pack: PolicyPack) -> dict[str, Policy]:
    return {policy.id: policy for policy in pack.enforced}


def drafted(
    by_id: Mapping[str, Policy], language: Language = "en", post: Post = POST, **changes: Any
) -> StatementOfReasons:
    statement = draft_statement(verdict(**changes), post, by_id, language)
    assert statement is not None
    return statement


def test_a_block_states_ground_facts_and_restriction(policies: dict[str, Policy]) -> None:
    assert drafted(policies).model_dump(mode="json") == {
        "decision_visibility": ["DECISION_VISIBILITY_CONTENT_DISABLED"],
        "decision_ground": "DECISION_GROUND_INCOMPATIBLE_CONTENT",
        "decision_ground_reference_url": None,
        "illegal_content_legal_ground": None,
        "illegal_content_explanation": None,
        "incompatible_content_ground": "Policy “Sale of weapons” (weapon_sale), version 3",
        "incompatible_content_explanation": (
            "The policy asks: “Does it sell a weapon?” Of this post, only the image and the words together violate it."
        ),
        "category": "STATEMENT_CATEGORY_UNSAFE_AND_PROHIBITED_PRODUCTS",
        "category_addition": [],
        "content_type": [IMAGE, TEXT],
        "content_language": "DE",
        "content_date": "2026-04-30",
        "application_date": "2026-05-01",
        "territorial_scope": list(EEA),
        "decision_facts": (
            "An automated system judged the post by the platform's policies. Policy “Sale of weapons”, version 3: only"
            " the image and the words together violate it. The decision to block was taken automatically."
        ),
        "source_type": "SOURCE_VOLUNTARY",
        "automated_detection": "Yes",
        "automated_decision": "AUTOMATED_DECISION_FULLY",
        "puid": "v-1",
        "redress": (
            "You can complain about this decision to the platform, free of charge, within six months. You can also turn"
            " to a certified out-of-court dispute settlement body, or to a court."
        ),
    }


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("attribution", [POLICY.attribution, None])
def test_it_tells_the_author_no_score_and_no_threshold(
    policies: dict[str, Policy], language: Language, attribution: Attribution | None
) -> None:
    part = POLICY.model_copy(update={"attribution": attribution})
    assert re.search(r"\d\.\d", drafted(policies, language, policies=(part,)).model_dump_json()) is None


def test_the_owners_words_say_how_to_contest_it(policies: dict[str, Policy]) -> None:
    statement = draft_statement(verdict(), POST, policies, "en", "Appeal at https://example.com/appeals.")
    assert statement is not None
    assert statement.redress == "Appeal at https://example.com/appeals."


def test_it_is_drafted_in_chinese_too(policies: dict[str, Policy]) -> None:
    statement = drafted(policies, "zh")
    assert statement.incompatible_content_ground == "政策“武器交易”（weapon_sale），第 3 版"
    assert statement.incompatible_content_explanation == (
        "政策的问题是：“是否出售武器？”就该帖子而言，图片与文字结合才构成违规。"
    )
    assert statement.decision_facts == (
        "系统依据平台政策自动判断了该帖子。政策“武器交易”，第 3 版：图片与文字结合才构成违规。屏蔽决定由系统自动作出。"
    )


@pytest.mark.parametrize(("language", "says"), [("en", "A person is to decide."), ("zh", "有待人工决定。")])
def test_a_review_leaves_open_what_a_person_decides(policies: dict[str, Policy], language: Language, says: str) -> None:
    for_review = POLICY.model_copy(update={"outcome": Outcome.REVIEW})
    statement = drafted(policies, language, decision="review", policies=(for_review,))
    assert (statement.decision_visibility, statement.application_date) == ((), None)
    assert statement.automated_decision == "AUTOMATED_DECISION_PARTIALLY"
    assert statement.decision_facts.endswith(says)


@pytest.mark.parametrize("decision", ["allow", "abstain"])
def test_without_a_violation_there_is_nothing_to_state(policies: dict[str, Policy], decision: str) -> None:
    mitigated = POLICY.model_copy(
        update={
            "outcome": Outcome.ALLOW,
            "violated": False,
            "score": 0.1,
            "attribution": attribute(0.1, 0.1, 0.9, threshold=0.5),
        }
    )
    assert draft_statement(verdict(decision=decision, policies=(mitigated,)), POST, policies, "en") is None


@pytest.mark.parametrize(
    ("text_only", "image_only", "types", "says"),
    [
        (0.1, 0.2, (IMAGE, TEXT), "only the image and the words together violate it"),
        (0.9, 0.2, (TEXT,), "the words alone violate it"),
        (0.1, 0.9, (IMAGE,), "the image alone violates it"),
        (0.9, 0.9, (IMAGE, TEXT), "the words and the image each violate it"),
        (0.9, None, (TEXT,), "the words alone violate it"),
        (None, 0.9, (IMAGE,), "the image alone violates it"),
    ],
)
def test_the_attribution_says_which_content(
    policies: dict[str, Policy],
    text_only: float | None,
    image_only: float | None,
    types: tuple[str, ...],
    says: str,
) -> None:
    part = POLICY.model_copy(update={"attribution": attribute(0.97, text_only, image_only, threshold=0.5)})
    statement = drafted(policies, policies=(part,))
    assert statement.content_type == types
    assert says in (statement.incompatible_content_explanation or "")


def test_what_was_not_measured_is_not_claimed(policies: dict[str, Policy]) -> None:
    statement = drafted(policies, policies=(POLICY.model_copy(update={"attribution": None}),))
    assert statement.content_type == (IMAGE, TEXT)
    assert statement.incompatible_content_explanation == (
        "The policy asks: “Does it sell a weapon?” Of this post, the answer is yes."
    )
    assert "together" not in statement.decision_facts
    text = verdict().content.model_copy(update={"images": ()})
    alone = drafted(policies, policies=(POLICY.model_copy(update={"attribution": None}),), content=text)
    assert alone.content_type == (TEXT,)


def test_the_gravest_violation_gives_the_ground_and_all_give_facts(policies: dict[str, Policy]) -> None:
    def part(policy_id: str, **changes: Any) -> PolicyVerdict:
        return POLICY.model_copy(update={"policy_id": policy_id, **changes})

    words = attribute(0.97, 0.9, 0.1, threshold=0.5)
    statement = drafted(
        policies,
        policies=(
            part("doxxing", outcome=Outcome.REVIEW, severity=5),
            part("health_misinformation", violated=False, outcome=Outcome.ALLOW),
            part("violence", severity=5, score=0.96, attribution=words),
            part("weapon_sale", severity=4, score=0.99),
        ),
    )
    assert statement.category == "STATEMENT_CATEGORY_VIOLENCE"
    assert statement.category_addition == tuple(
        sorted(policy.dsa_categories[0] for policy in (policies["doxxing"], policies["weapon_sale"]))
    )
    assert statement.content_type == (IMAGE, TEXT)
    named = ("violence", "weapon_sale", "doxxing", "health_misinformation")
    titles = [policies[name].title.in_language("en") for name in named]
    places = [statement.decision_facts.find(title) for title in titles]
    assert places[:3] == sorted(places[:3])
    assert places[3] == -1


def test_a_policys_further_categories_are_additions(policies: dict[str, Policy]) -> None:
    both = ("STATEMENT_CATEGORY_VIOLENCE", "STATEMENT_CATEGORY_RISK_FOR_PUBLIC_SECURITY")
    own = policies["weapon_sale"].model_copy(update={"dsa_category": both})
    statement = drafted({**policies, "weapon_sale": own})
    assert (statement.category, statement.category_addition) == (both[0], both[1:])


def test_a_policy_may_cite_a_law_and_where_it_holds(policies: dict[str, Policy]) -> None:
    cited = Statement(
        legal_ground="Waffengesetz, § 52", reference_url="https://law.example/52", territorial_scope=("DE", "AT")
    )
    own = policies["weapon_sale"].model_copy(update={"statement": cited, "dsa_category": ()})
    statement = drafted({**policies, "weapon_sale": own})
    assert statement.decision_ground == "DECISION_GROUND_ILLEGAL_CONTENT"
    assert statement.illegal_content_legal_ground == "Waffengesetz, § 52"
    assert "Does it sell a weapon?" in (statement.illegal_content_explanation or "")
    assert (statement.incompatible_content_ground, statement.incompatible_content_explanation) == (None, None)
    assert statement.decision_ground_reference_url == "https://law.example/52"
    assert statement.territorial_scope == ("AT", "DE")
    assert statement.category == "STATEMENT_CATEGORY_OTHER_VIOLATION_TC"


def test_what_the_post_does_not_say_stays_open(policies: dict[str, Policy]) -> None:
    statement = drafted(policies, post=Post(post_id="p", text="x", language="yue"))
    assert (statement.content_language, statement.content_date) == (None, None)
    for language in (None, "cn"):  # the database takes codes of ISO 639-1 alone
        assert drafted(policies, post=Post(post_id="p", text="x", language=language)).content_language is None


def test_what_could_not_be_judged_is_a_fact(policies: dict[str, Policy]) -> None:
    assert "Not all of the post could be judged." in drafted(policies, flags=("image_missing",)).decision_facts
    assert "Not all" not in drafted(policies).decision_facts


def test_it_names_no_person_and_quotes_nothing(policies: dict[str, Policy]) -> None:
    statement = drafted(policies, explanation="Anna sells it.").model_dump_json()
    assert not any(word in statement for word in ("Anna", "555", "u-9"))


def test_long_titles_stay_within_the_databases_lengths(policies: dict[str, Policy]) -> None:
    long = policies["weapon_sale"].model_copy(update={"title": Texts({"en": "x" * 4000, "zh": "长" * 4000})})
    parts = (POLICY, *(POLICY.model_copy(update={"policy_id": f"p{n}"}) for n in range(3)))
    statement = drafted({part.policy_id: long for part in parts}, policies=parts)
    assert len(statement.incompatible_content_ground or "") == MAX_GROUND
    assert len(statement.decision_facts) == MAX_FACTS
    assert len(statement.incompatible_content_explanation or "") < MAX_EXPLANATION


async def test_a_judged_post_carries_its_draft_as_the_schema_has_it(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine
) -> None:
    judge = await make_judge()
    blocked = await ask(judge, "I sell this", make_image(), language="en")
    reviewed = await ask(judge, "I will kill you")
    allowed = await ask(judge, "hello museum", make_image())
    abstained = await ask(judge, "hello museum", make_image(), ImageRef(data="aGVsbG8="))
    assert [one.decision for one in (blocked, reviewed, allowed, abstained)] == ["block", "review", "allow", "abstain"]
    assert (allowed.statement_of_reasons, abstained.statement_of_reasons) == (None, None)
    assert blocked.statement_of_reasons is not None
    assert blocked.statement_of_reasons.puid == blocked.verdict_id
    assert blocked.statement_of_reasons.application_date == blocked.judged_at.date().isoformat()
    assert reviewed.statement_of_reasons is not None
    assert reviewed.statement_of_reasons.content_type == (TEXT,)
    for one in (blocked, reviewed):
        jsonschema.validate(json.loads(one.to_json()), json.loads(json_schema("verdict")))
        assert Verdict.model_validate_json(one.to_json()) == one
