"""Training examples: what the engine would be asked about a labelled post, and what it should answer.

A post of words and images gives three examples, as it gives the judge three passes: the whole post, its words alone,
its images alone. The prompt's tokens are those that serve, made by the same code.

A policy without a label is not left to drift: its target is what the base model answered (Learning without Forgetting,
Li and Hoiem, 2016). A pass of a labelled policy whose attribution class says nothing of it has no target.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass

from moderation_service.contracts.engine_input import Questionnaire
from moderation_service.contracts.enums import AttributionClass, ImageStatus, Mode
from moderation_service.contracts.verdict import PolicyVerdict
from moderation_service.engine.base import ScoreRequest
from moderation_service.evaluation.labelled import Labelled
from moderation_service.evaluation.run import JudgedPost
from moderation_service.judging.evidence import Evidence, EvidenceLoader
from moderation_service.policies.language import language_of
from moderation_service.policies.model import Policy
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import Settings

PASSES = ("joint", "text_only", "image_only")
_ALONE: dict[AttributionClass, tuple[bool, bool] | None] = {
    AttributionClass.IMAGE_ONLY: (False, True),
    AttributionClass.TEXT_ONLY: (True, False),
    AttributionClass.EITHER: (True, True),
    AttributionClass.COMBINED: (False, False),
    AttributionClass.CONTEXT_MITIGATED: None,  # one of them, or both
    AttributionClass.NONE: (False, False),
}
"""Whether the words alone and the images alone violate the policy."""


@dataclass(frozen=True, slots=True)
class Example:
    """A request to the engine, and for each policy asked the probability of *yes* that it should answer with.

    `shown` is one of PASSES.
    """

    post_id: str
    shown: str
    request: ScoreRequest
    targets: tuple[float, ...]
    is_labelled: tuple[bool, ...]

    @property
    def policies(self) -> tuple[str, ...]:
        """Asked, in the order of the targets."""
        return tuple(self.request.questionnaire.questions[number].policy_id for number in self.request.asked)


def is_usable(judged: JudgedPost, pack: PolicyPack) -> bool:
    """Whether a post may be learned from: it was seen whole, banks left it to the model, and it has no route."""
    verdict = judged.verdict
    seen = all(image.status is ImageStatus.JUDGED for image in verdict.content.images) and not verdict.content.truncated
    routed = {policy.id for policy in pack.policies if policy.route}
    is_routed = verdict.route is not None or any(judged.labelled.labels.get(policy) for policy in routed)
    return seen and not is_routed and bool(verdict.policies or verdict.shadow)


async def examples_of(
    posts: Iterable[JudgedPost], pack: PolicyPack, settings: Settings, loader: EvidenceLoader
) -> AsyncIterator[Example]:
    """The examples of posts that the base model has judged with all passes."""
    for judged in posts:
        post = judged.labelled.post
        async with loader.load(post) as loaded:
            evidence = await loader.with_image_text(loaded)
            text = post.text or evidence.image_text
            language = language_of(settings.policies.language, post.language, text, pack).judged
            for mode in Mode:
                for example in _examples(judged, evidence, pack.of(mode), pack.questionnaire(language, mode)):
                    yield example


def _examples(
    judged: JudgedPost, evidence: Evidence, policies: Sequence[Policy], questionnaire: Questionnaire
) -> Iterable[Example]:
    has_text, has_images, surface = bool(evidence.words), bool(evidence.images), judged.labelled.post.surface
    base = {part.policy_id: part for part in (*judged.verdict.policies, *judged.verdict.shadow)}
    in_scope = {
        number: policy.id
        for number, policy in enumerate(policies)
        if policy.applies_to(has_text=has_text, has_images=has_images, surface=surface) and policy.id in base
    }
    passes = [evidence]
    if evidence.has_both_modalities:
        passes += [evidence.text_pass, evidence.image_pass]
    for name, shown in zip(PASSES, passes, strict=False):
        targets = {number: _target(name, policy, judged.labelled, base) for number, policy in in_scope.items()}
        told = {number: target for number, target in targets.items() if target is not None}
        if told:
            request = ScoreRequest(shown.words, shown.images, questionnaire, tuple(told))
            labelled = tuple(in_scope[number] in judged.labelled.labels for number in told)
            yield Example(judged.labelled.post.post_id, name, request, tuple(told.values()), labelled)


def _target(shown: str, policy: str, labelled: Labelled, base: Mapping[str, PolicyVerdict]) -> float | None:
    if policy not in labelled.labels:
        answered = base[policy]
        if shown == "joint":
            return answered.raw_score
        return getattr(answered.attribution, shown) if answered.attribution else None
    if shown == "joint":
        return float(labelled.labels[policy])
    named = labelled.attribution.get(policy)
    alone = _ALONE[named] if named else None
    return float(alone[PASSES.index(shown) - 1]) if alone else None
