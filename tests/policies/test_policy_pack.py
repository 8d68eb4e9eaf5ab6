"""What a loaded pack gives: policies in order, questions, cases as posts, and digests."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from moderation_service.contracts.engine_input import Question
from moderation_service.contracts.enums import Mode
from moderation_service.contracts.post import ImageRef
from moderation_service.errors import Misconfigured
from moderation_service.policies.model import Policy, Statement
from moderation_service.policies.pack import PolicyPack, load_pack

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def policy(folder: Path) -> Policy:
    """The one policy of the folder."""
    (only,) = load_pack(folder).policies
    return only


def changed(folder: Path, change: Change) -> Policy:
    """The folder's policy after a change of its fields, written in another order of fields."""
    file = folder / "weapon_sale.yaml"
    fields = yaml.safe_load(file.read_text(encoding="utf-8"))
    change(fields)
    file.write_text(yaml.safe_dump(fields, allow_unicode=True, sort_keys=True), encoding="utf-8")
    (only,) = load_pack(folder).policies
    return only


def other(policy: Policy, policy_id: str, **fields: Any) -> Policy:
    """The same policy under another id."""
    return policy.model_copy(update={"id": policy_id, **fields})


def test_a_file_may_be_loaded_alone(folder: Path, policy: Policy) -> None:
    """An owner checks the file at hand."""
    assert load_pack(folder / "weapon_sale.yaml").policies == (policy,)


def test_hidden_and_other_files_are_no_policies(folder: Path) -> None:
    """Mounted folders hold hidden links, and the schema lies beside the policies."""
    (folder / "..data").mkdir()
    (folder / ".draft.yaml").write_text("", encoding="utf-8")
    (folder / "policy.schema.json").write_text("{}", encoding="utf-8")
    assert len(load_pack(folder).policies) == 1


def test_a_byte_order_mark_is_no_part_of_the_file(folder: Path, policy: Policy) -> None:
    """Some editors write one."""
    file = folder / "weapon_sale.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert load_pack(folder).policies == (policy,)


def test_what_is_left_out_has_its_default(folder: Path) -> None:
    """Scope, mode, categories and cases may be left out."""

    def bare(fields: dict[str, Any]) -> None:
        for name in ("scope", "mode", "dsa_category", "openai_category", "cases"):
            del fields[name]

    policy = changed(folder, bare)
    assert policy.scope.modalities == ("text", "image")
    assert policy.scope.surfaces == ()
    assert (policy.mode, policy.dsa_category, policy.openai_category, policy.cases) == ("enforce", (), (), ())
    assert policy.statement == Statement(legal_ground=None, reference_url=None, territorial_scope=())


def test_a_policy_may_fill_several_categories_of_each_taxonomy(folder: Path) -> None:
    """The first DSA category is the main one."""
    several = changed(
        folder,
        lambda fields: fields.update(
            dsa_category=["STATEMENT_CATEGORY_VIOLENCE", "STATEMENT_CATEGORY_RISK_FOR_PUBLIC_SECURITY"],
            openai_category=["violence", "illicit/violent"],
            ailuminate_category="violent_crimes",
            owner="Trust and safety, weapons",
            jurisdictions=["DE", "NO"],
        ),
    )
    assert several.dsa_categories == ("STATEMENT_CATEGORY_VIOLENCE", "STATEMENT_CATEGORY_RISK_FOR_PUBLIC_SECURITY")
    assert several.openai_category == ("violence", "illicit/violent")
    assert several.ailuminate_category == ("violent_crimes",)
    assert (several.owner, several.jurisdictions) == ("Trust and safety, weapons", ("DE", "NO"))


def test_norway_needs_no_quotes(folder: Path, policy: Policy) -> None:
    """YAML 1.1 takes NO for false."""
    with (folder / "weapon_sale.yaml").open("a", encoding="utf-8") as file:
        file.write("jurisdictions: [SE, NO]\n")
    assert load_pack(folder).policies[0].jurisdictions == ("SE", "NO")
    assert load_pack(folder).digest == PolicyPack((policy,)).digest


def test_an_abbreviation_does_not_end_a_sentence(folder: Path) -> None:
    """A dot before a small letter or digit stands within a sentence."""
    question = "Does it sell a weapon, e.g. a knife of 2.5 inches?"
    policy = changed(folder, lambda fields: fields["question"].update(en=question))
    assert policy.question.in_language("en") == question


def test_a_policy_may_never_block_and_says_so(folder: Path) -> None:
    """Block is null then, and never just forgotten."""
    assert changed(folder, lambda fields: fields["thresholds"].update(block=None)).thresholds.block is None
    with pytest.raises(Misconfigured, match=r"thresholds.block: is missing"):
        changed(folder, lambda fields: fields["thresholds"].pop("block"))


@pytest.mark.parametrize("word", ["the U.S. Army", "Dr. Smith", "Heckler & Koch Inc. California", "Mr. T. Stone"])
def test_a_capital_behind_an_abbreviation_begins_no_sentence(folder: Path, word: str) -> None:
    question = f"Does it sell a weapon of {word}?"
    assert changed(folder, lambda fields: fields["question"].update(en=question)).question.root["en"] == question


@pytest.mark.parametrize("norway", ["NO", "'NO'"])
def test_no_is_norway_with_and_without_quotes(folder: Path, norway: str) -> None:
    file = folder / "weapon_sale.yaml"
    file.write_text(f"{file.read_text()}statement:\n  territorial_scope: [DE, {norway}]\n")
    (policy,) = load_pack(folder).policies
    assert policy.statement.territorial_scope == ("DE", "NO")


def test_policies_in_a_folder_inside_are_named_and_not_passed_over(folder: Path) -> None:
    (folder / "eu" / "deep").mkdir(parents=True)
    (folder / "eu" / "deep" / "hate.yml").write_text("id: hate\n")
    (folder / ".old").mkdir()
    (folder / ".old" / "older.yaml").write_text("id: older\n")
    with pytest.raises(Misconfigured) as refused:
        load_pack(folder)
    wrong = "policies.path: lies in a folder inside, where no policy is read"
    right = f"should be in {folder} itself, or its folder have a name that starts with a dot"
    assert str(refused.value) == f"{folder}/eu/deep/hate.yml: {wrong}; {right}"


def test_review_and_block_may_be_one_threshold(folder: Path) -> None:
    """Then nothing goes to review by score."""
    policy = changed(folder, lambda fields: fields["thresholds"].update(review=1, block=1))
    assert (policy.thresholds.review, policy.thresholds.block) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("has_text", "has_images", "surface", "applies"),
    [
        (True, True, "market", True),
        (True, False, "market", True),
        (False, True, "market", True),
        (False, False, "market", False),
        (True, True, "feed", False),
        (True, True, None, False),
    ],
)
def test_a_policy_applies_to_its_modalities_and_surfaces(
    policy: Policy, *, has_text: bool, has_images: bool, surface: str | None, applies: bool
) -> None:
    """One modality of the scope is enough; a surface must be listed once any is."""
    assert policy.applies_to(has_text, has_images, surface) is applies


def test_a_policy_without_surfaces_applies_to_all(folder: Path) -> None:
    """Also to a post that names none."""

    def text_anywhere(fields: dict[str, Any]) -> None:
        fields.update(scope={"modalities": ["text"]}, cases=[])

    policy = changed(folder, text_anywhere)
    assert policy.applies_to(has_text=True, has_images=False, surface=None)
    assert policy.applies_to(has_text=True, has_images=True, surface="feed")
    assert not policy.applies_to(has_text=False, has_images=True, surface="feed")


def test_a_policy_asks_in_either_language(policy: Policy) -> None:
    """The engine chooses between question and definition."""
    assert policy.to_question("en") == Question("weapon_sale", "Does it sell a weapon?", "A weapon is offered.")
    assert policy.to_question("zh") == Question("weapon_sale", "是否出售武器？", "出售武器。")


def test_a_case_becomes_a_post_with_images_from_the_folder(policy: Policy) -> None:
    """The post id names policy and case."""
    post = policy.post(policy.cases[0])
    assert post.post_id == "weapon_sale/offered"
    assert post.text == "DM me for the price"
    assert post.surface == "market"
    assert post.language is None
    assert post.images == (ImageRef(url="file:images/knife.png"),)


def test_a_pack_is_sorted_and_parted_by_mode(policy: Policy) -> None:
    """Shadow policies stand apart from those that decide."""
    knife, zebra = other(policy, "knife_sale", mode="shadow"), other(policy, "zebra_sale")
    pack = PolicyPack((zebra, policy, knife))
    assert [p.id for p in pack.policies] == ["knife_sale", "weapon_sale", "zebra_sale"]
    assert [p.id for p in pack.enforced] == ["weapon_sale", "zebra_sale"]
    assert [p.id for p in pack.shadow] == ["knife_sale"]


def test_a_questionnaire_follows_the_policies_of_its_mode(policy: Policy) -> None:
    """Asked for again, it is the same object."""
    pack = PolicyPack((policy, other(policy, "knife_sale", mode="shadow"), other(policy, "zebra_sale")))
    enforced = pack.questionnaire("zh", Mode.ENFORCE)
    assert enforced.language == "zh"
    assert [question.policy_id for question in enforced.questions] == ["weapon_sale", "zebra_sale"]
    assert [question.policy_id for question in pack.questionnaire("en", Mode.SHADOW).questions] == ["knife_sale"]
    assert pack.questionnaire("zh", Mode.ENFORCE) is enforced


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields["title"].update(en="Arms deals"),
        lambda fields: fields["cases"].pop(),
        lambda fields: fields["cases"][0].update(text="Yours for a good price"),
        lambda fields: fields["scope"].update(modalities=["image", "text"]),
        lambda fields: fields["definition"].update(en="A weapon is offered.\n"),
        lambda fields: fields.update(statement={"legal_ground": "Weapons Act, section 5"}),
        lambda fields: fields.update(owner="Safety", jurisdictions=["DE"], ailuminate_category="violent_crimes"),
        lambda fields: fields.update(openai_category=["illicit/violent"]),
        dict.copy,
    ],
    ids=[
        "title",
        "fewer cases",
        "other case",
        "order of a list",
        "blank end",
        "cited law",
        "owner, countries and hazards",
        "a list of one",
        "order of fields",
    ],
)
def test_what_is_not_judged_leaves_the_digest(folder: Path, policy: Policy, change: Change) -> None:
    """Verdicts before and after are by the same policy."""
    assert changed(folder, change).digest == policy.digest


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields["definition"].update(en="A weapon is offered here."),
        lambda fields: fields["definition"].update(zh="出售武器"),
        lambda fields: fields["question"].update(en="Does it sell arms?"),
        lambda fields: fields["thresholds"].update(block=0.91),
        lambda fields: fields["thresholds"].update(review=0.49),
        lambda fields: fields["scope"].update(surfaces=["market", "feed"]),
        lambda fields: fields.update(severity=3),
        lambda fields: fields.update(mode="shadow"),
        lambda fields: fields.update(version=2),
        lambda fields: fields.update(dsa_category=None),
        lambda fields: fields.update(openai_category="illicit"),
        lambda fields: fields.update(openai_category=["illicit/violent", "illicit"]),
    ],
)
def test_what_is_judged_or_decided_changes_the_digest(folder: Path, policy: Policy, change: Change) -> None:
    """A verdict names the very policy it was made by."""
    assert changed(folder, change).digest != policy.digest


def test_the_digest_of_a_known_policy_stays_for_good(policy: Policy) -> None:
    """Old verdicts are compared with it: whoever changes this number orphans them."""
    assert policy.digest == "sha256:dc92b01f5c22263290faeb7b52b519fa0ad6d6870131f85ea2a62a7df3e21d7e"


def test_a_digest_is_the_same_in_another_process(folder: Path) -> None:
    """No hash seed or memory address has a part in it."""
    code = (
        "import sys; from pathlib import Path; from moderation_service.policies.pack import load_pack;"
        "print(load_pack(Path(sys.argv[1])).digest)"
    )
    run = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == load_pack(folder).digest


def test_a_packs_digest_is_over_its_policies(policy: Policy) -> None:
    """In any order of giving; another, fewer or changed policies make another pack."""
    knife = other(policy, "knife_sale")
    digest = PolicyPack((policy, knife)).digest
    assert digest.startswith("sha256:")
    assert PolicyPack((knife, policy)).digest == digest
    assert PolicyPack((policy,)).digest != digest
    assert PolicyPack((policy, other(policy, "knife_sale", severity=1))).digest != digest


def test_a_service_that_runs_no_case_does_without_their_images(folder: Path) -> None:
    whole = load_pack(folder).digest
    (folder / "images" / "knife.png").unlink()
    assert load_pack(folder, images=False).digest == whole
