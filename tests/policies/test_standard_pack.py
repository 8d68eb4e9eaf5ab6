"""The standard pack: its policies are whole and cover the taxonomies. No model is asked."""

import re
from pathlib import Path

import pytest
import yaml
from PIL import Image

from moderation_service.contracts.enums import Route
from moderation_service.policies.coverage import CategoryCoverage, coverage
from moderation_service.policies.model import Policy
from moderation_service.policies.pack import PolicyPack, load_pack
from moderation_service.settings import shipped_policies

STANDARD = shipped_policies().parent / "standard"
IDS = tuple(sorted(file.stem for file in STANDARD.glob("*.yaml") if file.stem != "pack"))
LEAST_CASES = 8
MAX_IMAGE_BYTES, MAX_IMAGE_SIDE, MAX_FOLDER_BYTES = 40_000, 512, 1_500_000

each_policy = pytest.mark.parametrize("policy_id", IDS)


@pytest.fixture(scope="module")
def pack() -> PolicyPack:
    """The pack with the images of its cases."""
    return load_pack(STANDARD)


@pytest.fixture
def policy(pack: PolicyPack, policy_id: str) -> Policy:
    """The policy of one id."""
    return next(policy for policy in pack.policies if policy.id == policy_id)


@each_policy
def test_each_has_cases_of_both_results_in_both_languages(policy: Policy) -> None:
    """Eight or more, each says where the violation is, and some violate only by image and words together."""
    assert len(policy.cases) >= LEAST_CASES
    assert {(case.language, case.expect == "allow") for case in policy.cases} >= {
        (language, allowed) for language in ("en", "zh") for allowed in (True, False)
    }
    assert all(case.attribution for case in policy.cases)
    combined = [case for case in policy.cases if case.attribution == "combined"]
    assert combined
    assert all(case.text and case.images for case in combined)


@each_policy
def test_a_combined_violation_has_a_harmless_twin(policy: Policy) -> None:
    """The same image with other words, so that nobody learns to flag the image."""
    violating = {case.images for case in policy.cases if case.attribution == "combined"}
    assert violating & {case.images for case in policy.cases if case.expect == "allow"}


@each_policy
def test_each_definition_has_the_same_parts_in_both_languages(policy: Policy) -> None:
    """As many rules in Chinese as in English, and the borders lead to policies of the pack."""
    en, zh = (policy.definition.root[tag] for tag in ("en", "zh"))
    for parts, words in (
        (("Purpose: ", "\nDoes not violate:", "\nExamples: ", "\nBorders: "), en),
        (("目的：", "\n不违规：", "\n举例：", "\n与相邻政策的界限："), zh),
    ):
        assert all(part in words for part in parts)
    assert en.count("\n- ") == zh.count("\n- ")
    named = [set(re.findall(r"`(\w+)`", words)) for words in (en, zh)]
    assert named[0] == named[1]
    assert named[0] <= set(IDS) - {policy.id}


@each_policy
def test_each_has_an_owner_a_dsa_category_and_reasons_for_its_thresholds(policy: Policy) -> None:
    """The reasons stand in a comment over the thresholds."""
    assert policy.owner
    assert policy.dsa_category
    assert re.search(r"^# .+\nthresholds:$", (STANDARD / f"{policy.id}.yaml").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize(
    "one", coverage(load_pack(STANDARD, images=False)), ids=lambda one: f"{one.taxonomy}: {one.category}"
)
def test_each_category_is_covered_or_left_out_for_a_reason(one: CategoryCoverage, pack: PolicyPack) -> None:
    """AILuminate's hazards, the statement categories of the DSA and OpenAI's thirteen."""
    assert bool(one.policies) != ((one.taxonomy, one.category) in pack.not_covered)


@pytest.mark.parametrize("folder", [STANDARD, shipped_policies()], ids=lambda folder: folder.name)
def test_each_file_of_a_pack_is_in_its_config_map(folder: Path) -> None:
    """`kubectl apply` notes the whole ConfigMap in an annotation, which holds 256 KiB."""
    (made,) = yaml.safe_load((folder / "Kustomization").read_text("utf-8"))["configMapGenerator"]
    files = sorted(folder.glob("*.yaml"))
    assert made["files"] == [file.name for file in files]
    assert sum(file.stat().st_size for file in files) < 240 * 1024


def test_child_sexual_exploitation_goes_to_the_hold_alone(pack: PolicyPack) -> None:
    """Other policies share the reviewers' queue."""
    assert [policy.id for policy in pack.policies if policy.route is Route.CHILD_SAFETY] == [
        "child_sexual_exploitation"
    ]


def test_a_machine_never_blocks_who_speaks_of_dying(pack: PolicyPack) -> None:
    """They need an answer."""
    assert next(policy for policy in pack.policies if policy.id == "self_harm").thresholds.block is None


def test_the_images_are_small_used_and_of_known_origin(pack: PolicyPack) -> None:
    """Each is made by the script that SOURCES.md names."""
    images = sorted((STANDARD / "images").glob("*.png"))
    script = "".join(file.read_text("utf-8") for file in (STANDARD.parents[1] / "scripts/pack_drawings").glob("*.py"))
    used = {image for policy in pack.policies for case in policy.cases for image in case.images}
    assert used == {f"images/{image.name}" for image in images}
    for image in images:
        assert re.search(rf'("|def ){image.stem}("|\()', script), image
        assert image.stat().st_size <= MAX_IMAGE_BYTES, image
        with Image.open(image) as opened:
            assert max(opened.size) <= MAX_IMAGE_SIDE, image
    assert sum(image.stat().st_size for image in images) < MAX_FOLDER_BYTES


def test_no_case_names_a_number_that_somebody_may_have(pack: PolicyPack) -> None:
    """555-01xx is kept for fiction; a Chinese line does not begin with 0."""
    words = " ".join(case.text for policy in pack.policies for case in policy.cases)
    assert all(re.fullmatch(r"555-01\d\d|010-0000-\d{4}", number) for number in re.findall(r"\d[\d -]{5,}\d", words))
