"""What is asked and answered in training: as the judge asks, and as people labelled."""

import dataclasses
from collections.abc import Mapping

import pytest

from moderation_service.contracts.enums import AttributionClass, ImageStatus, Mode, Route
from moderation_service.contracts.post import Post
from moderation_service.evaluation.labelled import Labelled
from moderation_service.evaluation.run import JudgedPost
from moderation_service.judging.evidence import EvidenceLoader
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.pack import PolicyPack, load_pack
from moderation_service.settings import Settings, shipped_policies
from moderation_service.training.examples import Example, examples_of, is_usable
from tests.contracts.examples import verdict
from tests.evaluation.made import part
from tests.judging.conftest import make_image

PACK = load_pack(shipped_policies())
POST = Post(post_id="p-1", text="Lightly used, DM me for the price", images=(make_image(),))


def labelled(
    labels: Mapping[str, bool], attribution: Mapping[str, AttributionClass] | None = None, post: Post = POST
) -> JudgedPost:
    """With verdicts of .3 on the whole, .2 on the text and .1 on the image, for all policies."""
    parts = tuple(part(policy.id, (0.3, 0.2, 0.1)) for policy in PACK.policies)
    return JudgedPost(Labelled(post, labels, attribution or {}), verdict(post_id=post.post_id, policies=parts))


async def targets(judged: JudgedPost, pack: PolicyPack = PACK) -> list[dict[str, float]]:
    """By policy, one for each pass."""
    return [dict(zip(one.policies, one.targets, strict=True)) for one in await examples(judged, pack)]


async def examples(judged: JudgedPost, pack: PolicyPack = PACK) -> list[Example]:
    settings = Settings()
    async with ImageLoader(settings.media) as loader:
        return [one async for one in examples_of([judged], pack, settings, EvidenceLoader(settings.media, loader))]


@pytest.mark.parametrize(
    ("named", "whole", "alone"),
    [
        (AttributionClass.TEXT_ONLY, 1.0, (1.0, 0.0)),
        (AttributionClass.IMAGE_ONLY, 1.0, (0.0, 1.0)),
        (AttributionClass.EITHER, 1.0, (1.0, 1.0)),
        (AttributionClass.COMBINED, 1.0, (0.0, 0.0)),
        (AttributionClass.CONTEXT_MITIGATED, 0.0, (None, None)),
        (AttributionClass.NONE, 0.0, (0.0, 0.0)),
        (None, 1.0, (None, None)),
    ],
)
async def test_the_attribution_class_is_the_label_of_each_pass(
    named: AttributionClass | None, whole: float, alone: tuple[float | None, float | None]
) -> None:
    known = {"weapon_sale": named} if named else {}
    found = await targets(labelled({"weapon_sale": whole == 1}, known))
    assert [one.get("weapon_sale") for one in found] == [whole, *alone]


async def test_a_policy_without_a_label_is_to_be_answered_as_the_base_model_does() -> None:
    found = await targets(labelled({"weapon_sale": True}, {"weapon_sale": AttributionClass.COMBINED}))
    assert [one["doxxing"] for one in found] == [0.3, 0.2, 0.1]
    (whole, *_) = await examples(labelled({"weapon_sale": True}))
    assert [policy for policy, known in zip(whole.policies, whole.is_labelled, strict=True) if known] == ["weapon_sale"]


async def test_a_post_of_one_modality_has_one_pass_of_the_policies_in_whose_scope_it_is() -> None:
    (only,) = await examples(labelled({"doxxing": True}, post=Post(post_id="p-2", text="He lives at 5 Mill Lane")))
    assert only.request.images == ()
    assert set(only.policies) == {policy.id for policy in PACK.policies} - {"weapon_display"}


async def test_policies_in_shadow_learn_too_and_are_asked_apart() -> None:
    policies = tuple(
        policy.model_copy(update={"mode": Mode.SHADOW}) if policy.id == "doxxing" else policy
        for policy in PACK.policies
    )
    found = await examples(labelled({"doxxing": True, "weapon_sale": False}), PolicyPack(policies))
    assert {one.policies for one in found if "doxxing" in one.policies} == {("doxxing",)}
    assert len({one.request.questionnaire for one in found}) == 2


def test_what_was_not_seen_whole_or_has_a_route_is_not_learned_from() -> None:
    good = labelled({"doxxing": False})
    assert is_usable(good, PACK)
    content = good.verdict.content
    missing = tuple(image.model_copy(update={"status": ImageStatus.UNAVAILABLE}) for image in content.images)
    for update in (
        {"content": content.model_copy(update={"images": missing})},
        {"content": content.model_copy(update={"truncated": True})},
        {"route": Route.CHILD_SAFETY},
        {"policies": ()},
    ):
        assert not is_usable(dataclasses.replace(good, verdict=good.verdict.model_copy(update=update)), PACK)


def test_a_post_that_people_found_to_violate_a_policy_with_a_route_is_not_learned_from() -> None:
    routed = PolicyPack(
        tuple(
            policy.model_copy(update={"route": Route.CHILD_SAFETY}) if policy.id == "minor_contact" else policy
            for policy in PACK.policies
        )
    )
    assert not is_usable(labelled({"minor_contact": True}), routed)
    assert is_usable(labelled({"minor_contact": False}), routed)
