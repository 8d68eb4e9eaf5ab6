"""One post to one verdict: load images, score, attribute, decide, explain, build the verdict."""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from copy import copy
from functools import cache

from moderation_service.contracts.post import Post
from moderation_service.contracts.question import Language
from moderation_service.contracts.verdict import Content, Timings, Verdict
from moderation_service.engine.base import Engine
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.decision import cannot_tell, decide
from moderation_service.judging.evidence import Evidence, EvidenceRoom
from moderation_service.judging.explanation import Explainer
from moderation_service.judging.policy_scorer import PolicyScorer
from moderation_service.judging.result_cache import CachedResult, Judged, ResultCache
from moderation_service.judging.score_drift import Drift
from moderation_service.judging.shadow import Shadow, beside, shadow_sets
from moderation_service.judging.verdict_builder import VerdictBuilder, as_read, content_of, recorded_model
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.language import language_of
from moderation_service.policies.model import Mode
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import Settings
from moderation_service.telemetry import metrics, tracing

LANGUAGES: tuple[Language, ...] = ("en", "zh")
_STAGES = {
    stage: metrics.STAGE_SECONDS.labels(stage)
    for stage in ("queue", "fetch", "decode", "score", "attribution", "explain")
}
_DECIDED = cache(metrics.VERDICTS.labels)


class Judge:
    """Holds what every post is judged by; `judge` may run for many posts at once."""

    def __init__(  # noqa: PLR0913 - the judge's parts, handed in by the composition root
        self,
        *,
        settings: Settings,
        pack: PolicyPack,
        calibration: Calibration,
        loader: ImageLoader,
        engine: Engine,
        batcher: Batcher,
        shadow_batcher: Batcher,
        shadow_pack: PolicyPack | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._settings = settings.judging
        self._language = settings.policies.language
        self._engine = engine
        self.calibration = calibration
        self._room = EvidenceRoom(settings.media, loader)
        self._batcher = batcher
        self._shadow_batcher = shadow_batcher
        self._explainer = Explainer(settings, batcher)
        self._clock = clock
        self._drift = Drift(calibration.scores)
        self.model = recorded_model(engine.info, settings, calibration.calibration_id)
        self._rule_by(pack, shadow_pack)

    def with_policies(self, pack: PolicyPack, shadow_pack: PolicyPack | None) -> "Judge":
        """A judge by other policies that shares all else; posts that are in work stay with this one."""
        other = copy(self)
        other._rule_by(pack, shadow_pack)  # noqa: SLF001 - it is a judge too
        return other

    async def prepare(self) -> None:
        """Compute what all posts share. Raises Misconfigured where the policies leave no room for a post."""
        for language in LANGUAGES if self._language == "auto" else (self._language,):
            for pack, mode in ((self.pack, "enforce"), *self._shadow_sets):
                questionnaire = pack.questionnaire(language, mode)
                if questionnaire.questions:
                    await self._engine.prepare(questionnaire)

    async def judge(self, post: Post, *, trace_id: str, queue_ms: float = 0.0, published: bool = True) -> Judged:
        """Load a post's evidence and judge it, once. Raises as `judge_on`."""
        async with self.evidence(post) as evidence:
            return await self.judge_on(post, evidence, trace_id=trace_id, queue_ms=queue_ms, published=published)

    def evidence(self, post: Post) -> AbstractAsyncContextManager[Evidence]:
        """What of the post could be had, held while it is judged, also again and again. A bad image never raises."""
        return self._room.of(post)

    async def judge_on(
        self, post: Post, evidence: Evidence, *, trace_id: str, queue_ms: float = 0.0, published: bool = True
    ) -> Judged:
        """Judge a post on its evidence. Of a verdict that is not to be `published` no other is the duplicate.

        Raises Transient where trying again may help, Poison where this post breaks the engine.
        """
        begun = self._clock()
        language = language_of(self._language, post.language, post.text)
        content = content_of(post, language, evidence)
        key = self._verdict_builder.key(content, post.surface)
        had = all(image.sha256 for image in content.images)
        found = await self._result_cache.get_or_compute(
            key if had and published else None, lambda: self._compute(post, language, content, evidence, key)
        )
        found_ms = (self._clock() - begun) * 1000
        loading_ms = evidence.loaded.fetch_ms + evidence.loaded.decode_ms
        timings = Timings(
            queue=_ms(queue_ms),
            fetch=_ms(evidence.loaded.fetch_ms),
            decode=_ms(evidence.loaded.decode_ms),
            score=_ms(found_ms - found.attribution_ms - found.explain_ms),
            attribution=_ms(found.attribution_ms),
            explain=_ms(found.explain_ms),
            total=_ms(queue_ms + loading_ms + found_ms),
        )
        verdict = self._verdict_builder.build(post, found, trace_id, timings)
        _count(verdict)
        self._drift.record(verdict.policies)
        for policy_id in found.shadowed.flips(found.policies, found.decision):
            metrics.SHADOW_FLIPS.labels(policy_id).inc()
        return Judged(verdict, found.tokens)

    async def _compute(
        self, post: Post, language: Language, content: Content, evidence: Evidence, key: str
    ) -> CachedResult:
        """Score, attribute, decide, explain."""
        enforced, shadow = self._scorers(language)
        with tracing.step("score"):
            enforced_joint, shadow_joints = await beside(
                enforced.joint(evidence, post.surface), shadow.joint(evidence, post.surface)
            )

        attribution_begun = self._clock()
        sampled = int(key[:8], 16) < self._settings.attribution_sample * 2**32
        with tracing.step("attribute"):
            (policies, tokens), shadowed = await beside(
                enforced.verdicts(evidence, enforced_joint, sampled=sampled),
                shadow.verdicts(evidence, shadow_joints, sampled=sampled),
            )

        explain_begun = self._clock()
        read = as_read(content, enforced_joint.scored, evidence.loaded)
        unseen = cannot_tell(read, policies, self._settings.min_label_mass)
        with tracing.step("explain"):
            explanation = await self._explainer.explain(policies, self._by_id, unseen, evidence, language)
        return CachedResult(
            post_id=post.post_id,
            revision=post.revision,
            language=language,
            content=read,
            suspected=bool(evidence.without_orders),
            policies=policies,
            shadowed=shadowed,
            decision=decide(policies, unseen),
            unseen=unseen,
            explanation=explanation,
            tokens=enforced_joint.scored.tokens + tokens + shadowed.tokens,
            attribution_ms=(explain_begun - attribution_begun) * 1000,
            explain_ms=(self._clock() - explain_begun) * 1000,
        )

    def _rule_by(self, pack: PolicyPack, shadow_pack: PolicyPack | None) -> None:
        self.pack, self.shadow_pack = pack, shadow_pack
        self._by_id = {policy.id: policy for policy in pack.enforced}
        self._verdict_builder = VerdictBuilder(pack, self.model, self._settings.redress)
        self._shadow_sets = shadow_sets(pack, shadow_pack)
        self._scorers = cache(self._make_scorers)
        self._result_cache = ResultCache(self._settings.result_cache_size)  # titles and shadow policies may differ

    def _make_scorers(self, language: Language) -> tuple[PolicyScorer, Shadow]:
        def scorer(pack: PolicyPack, mode: Mode, batcher: Batcher) -> PolicyScorer:
            questionnaire = pack.questionnaire(language, mode)
            return PolicyScorer(pack.of(mode), questionnaire, batcher, self.calibration, self._settings)

        apart = [scorer(*chosen, self._shadow_batcher) for chosen in self._shadow_sets]
        return scorer(self.pack, "enforce", self._batcher), Shadow(apart)


def _ms(milliseconds: float) -> float:
    return round(max(milliseconds, 0.0), 2)


def _count(verdict: Verdict) -> None:
    _DECIDED(verdict.decision).inc()
    for image in verdict.content.images:
        metrics.IMAGES.labels(image.status).inc()
    for policy in verdict.policies:
        if policy.violated:
            named = policy.attribution.class_ if policy.attribution else "unknown"
            metrics.VIOLATIONS.labels(policy.policy_id, named).inc()
    for stage, seconds in _STAGES.items():
        if took := getattr(verdict.timings_ms, stage):  # a step that a post did not need took no time
            seconds.observe(took / 1000)
