"""The eight policies a platform starts from."""

import re

import pytest

from moderation_service.policies.model import Case, Policy
from moderation_service.policies.pack import PolicyPack, load_pack
from moderation_service.settings import shipped_policies

IDS = (
    "dehumanisation",
    "doxxing",
    "financial_scam",
    "health_misinformation",
    "minor_contact",
    "violence",
    "weapon_display",
    "weapon_sale",
)
COMBINED = ("dehumanisation", "financial_scam", "health_misinformation", "minor_contact", "weapon_sale")
LEAST_CASES = 6
DEFINITION = range(150, 401)  # English words, Chinese characters

each_policy = pytest.mark.parametrize("policy_id", IDS)


@pytest.fixture(scope="module")
def pack() -> PolicyPack:
    """The pack as it is shipped."""
    return load_pack(shipped_policies())


@pytest.fixture
def policy(pack: PolicyPack, policy_id: str) -> Policy:
    """The policy of one id."""
    return next(policy for policy in pack.policies if policy.id == policy_id)


def of(policy: Policy, attribution: str) -> list[Case]:
    """The cases with one expected attribution."""
    return [case for case in policy.cases if case.attribution == attribution]


def test_there_are_eight_and_all_decide(pack: PolicyPack) -> None:
    """A new platform has them all on, and turns to shadow what it wants to try first."""
    assert tuple(policy.id for policy in pack.enforced) == IDS
    assert pack.shadow == ()


def test_the_questions_are_the_words_the_bundled_model_learned(pack: PolicyPack) -> None:
    """Another word would ask it something it never read."""
    asked = {policy.id: tuple(policy.question.root[tag] for tag in ("en", "zh")) for policy in pack.policies}
    assert asked == {
        "dehumanisation": ("Does it liken people to animals?", "是否把人比作动物？"),
        "doxxing": ("Does it expose private details?", "是否曝光他人隐私？"),
        "financial_scam": ("Is it a money scam?", "是否为金钱诈骗？"),
        "health_misinformation": ("Does it push a false cure?", "是否宣传虚假疗法？"),
        "minor_contact": ("Does it seek contact with a child?", "是否私下联系未成年人？"),
        "violence": ("Does it show or threaten violence?", "是否展示或威胁暴力？"),
        "weapon_display": ("Does it show off a weapon?", "是否炫耀武器？"),
        "weapon_sale": ("Does it sell a weapon?", "是否出售武器？"),
    }


@each_policy
def test_each_points_editors_to_the_schema(policy_id: str) -> None:
    """The first line is what an editor's YAML server looks for."""
    first = (shipped_policies() / f"{policy_id}.yaml").read_text(encoding="utf-8").split("\n")[0]
    assert first == "# yaml-language-server: $schema=../policy.schema.json"


@each_policy
def test_each_definition_is_whole_in_both_languages(policy: Policy) -> None:
    """What violates, what does not, examples; news, museums and satire are thought of."""
    en, zh = policy.definition.root["en"], policy.definition.root["zh"]
    assert len(en.split()) in DEFINITION
    assert len(re.findall(r"[一-鿿]", zh)) in DEFINITION
    for words in ("violates", "Violates:", "Does not violate:", "Examples:", "ews", "useum", "atire"):
        assert words in en, words
    for words in ("违规：", "不违规：", "举例：", "新闻", "博物馆", "讽刺"):
        assert words in zh, words


@each_policy
def test_each_has_cases_of_both_results_in_both_languages(policy: Policy) -> None:
    """At least six, and every case says where the violation is."""
    assert len(policy.cases) >= LEAST_CASES
    assert {(case.language, case.expect == "allow") for case in policy.cases} >= {
        ("en", True),
        ("en", False),
        ("zh", True),
        ("zh", False),
    }
    assert all(case.attribution for case in policy.cases)


@each_policy
def test_each_maps_to_a_dsa_category(policy: Policy) -> None:
    """A statement of reasons needs one."""
    assert policy.dsa_category


@pytest.mark.parametrize("policy_id", COMBINED)
def test_the_combined_policies_need_image_and_words(policy: Policy) -> None:
    """Each violation has twins: the same image with other words, the same words with another image."""
    violations, twins = of(policy, "combined"), of(policy, "none")
    assert violations
    assert {case.images for case in violations} & {case.images for case in twins}
    assert {case.text for case in violations} & {case.text for case in twins if case.images}


@pytest.mark.parametrize("policy_id", ["violence"])
def test_violence_is_found_in_either_modality_and_in_both(policy: Policy) -> None:
    """The policy that shows every class of a violation."""
    for attribution in ("image_only", "text_only", "either", "combined"):
        assert of(policy, attribution), attribution


@pytest.mark.parametrize("policy_id", ["weapon_display"])
def test_a_museum_and_the_news_excuse_the_display_of_a_weapon(policy: Policy) -> None:
    """Mitigated cases are allowed although the image alone would not be."""
    mitigated = of(policy, "context_mitigated")
    assert {case.language for case in mitigated} == {"en", "zh"}
    assert {case.expect for case in mitigated} == {"allow"}


@pytest.mark.parametrize("policy_id", ["weapon_display"])
def test_the_display_of_a_weapon_is_for_a_person_to_decide(policy: Policy) -> None:
    """A kitchen knife with "Good morning" is no reason to block."""
    assert policy.thresholds.block is None
    assert {case.expect for case in policy.cases} == {"allow", "review"}


def test_each_blocks_by_its_own_harm(pack: PolicyPack) -> None:
    """All go to review where the bundled model's figures are stated; what cannot be undone is blocked the earliest."""
    assert {policy.thresholds.review for policy in pack.policies} == {0.5}
    by_block = {policy.thresholds.block: policy.id for policy in pack.policies if policy.thresholds.block}
    assert by_block[min(by_block)] == "minor_contact"


def test_no_case_names_a_number_that_somebody_may_have(pack: PolicyPack) -> None:
    """555-01xx is kept for fiction; a Chinese line does not begin with 0."""
    for policy in pack.policies:
        for words in (*policy.definition.root.values(), *(case.text for case in policy.cases)):
            numbers = re.findall(r"\d[\d -]{5,}\d", words)
            assert all(re.fullmatch(r"555-01\d\d|010-0000-\d{4}", number) for number in numbers), numbers
