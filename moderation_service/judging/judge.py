"""Judge: one post to one verdict. `Judge.judge` is the whole way; `_judge_content` is the part that copies share."""

import asyncio
import time
from collections.abc import Callable, Hashable
from contextlib import AbstractAsyncContextManager, nullcontext
from copy import copy
from dataclasses import dataclass
from functools import cache

from moderation_service.audits.sampling import AuditSampler
from moderation_service.banks.matcher import BankMatcher
from moderation_service.contracts.engine_input import Language, Questionnaire
from moderation_service.contracts.enums import DecidedBy, Decision, Mode
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Content, Verdict, content_key
from moderation_service.engine.base import Engine
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration, DriftMonitor
from moderation_service.judging.content import content_as_read, describe_content, with_image_words
from moderation_service.judging.decision import (
    decide,
    find_abstain_reason,
    find_route,
    flags,
    gravest_match,
    with_known_content,
)
from moderation_service.judging.evidence import Evidence, EvidenceLoader
from moderation_service.judging.explanation import Explainer
from moderation_service.judging.hma import HmaClient
from moderation_service.judging.known_content import KnownContent, count_matches, match_banks, match_image_text
from moderation_service.judging.near_duplicates import NearDuplicates
from moderation_service.judging.policy_scorer import PolicyScorer
from moderation_service.judging.result_cache import CachedResult, ResultCache
from moderation_service.judging.shadow import ShadowScorer, run_with_shadow, shadow_sets
from moderation_service.judging.shadow_model import Answer, ShadowModel, count_model_flips, no_answer
from moderation_service.judging.verdict_builder import VerdictBuilder, model_metadata, timings_of
from moderation_service.languages.detection import load_model
from moderation_service.media.image_text import ImageTextReader
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.language import PostLanguage, language_of
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import Settings
from moderation_service.telemetry import metrics, tracing

_STAGES = {
    stage: metrics.STAGE_SECONDS.labels(stage)
    for stage in ("queue", "fetch", "decode", "score", "attribution", "explain")
}
_DECIDED = {decision: metrics.VERDICTS.labels(decision) for decision in Decision}


@dataclass(frozen=True, slots=True)
class JudgeResult:
    """A verdict, and the tokens that the model read for it (all modality passes)."""

    verdict: Verdict
    tokens: int


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
        shadow_model: ShadowModel | None = None,
        banks: BankMatcher | None = None,
        text_reader: ImageTextReader | None = None,
        hma: HmaClient | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._settings, self._sampler = settings.judging, AuditSampler(settings.audit)
        self._language = settings.policies.language
        self._engine = engine
        self.calibration = calibration
        self.banks = BankMatcher() if banks is None else banks
        self._hma = hma
        self._evidence_loader = EvidenceLoader(settings.media, loader, text_reader)
        self._batcher, self._shadow_batcher = batcher, shadow_batcher
        self._shadow_model = shadow_model
        self._explainer = Explainer(settings, batcher)
        nothing = Questionnaire("en", ())
        self._no_scorers = PolicyScorer((), nothing, batcher, calibration, self._settings), ShadowScorer(())
        self._near_duplicates = NearDuplicates(self._settings.near_duplicates)
        self._clock = clock
        self._drift = DriftMonitor(calibration.scores)
        self.model = model_metadata(engine.info, settings, calibration.calibration_id)
        self._use_policies(pack, shadow_pack)

    def with_policies(self, pack: PolicyPack, shadow_pack: PolicyPack | None) -> "Judge":
        """A judge by other policies that shares all else, the banks too; posts that are in work stay with this one."""
        other = copy(self)
        other._use_policies(pack, shadow_pack)  # noqa: SLF001 - it is a judge too
        return other

    @property
    def has_routes(self) -> bool:
        """Whether a post may turn out to be one that only few may see."""
        return any(one.route for one in self._by_id.values()) or any(loaded.bank.route for loaded in self.banks)

    async def prepare(self) -> None:
        """Compute what all posts share. Raises Misconfigured where the policies leave no room for a post."""
        await asyncio.to_thread(load_model)
        for pack, mode in ((self.pack, Mode.ENFORCE), *self._shadow_sets):
            judging = self.shadow_pack if pack is self.shadow_pack else self.pack
            for language in judging.languages if self._language == "auto" else (self._language,):
                questionnaire = pack.questionnaire(language, mode)
                if questionnaire.questions:
                    await self._engine.prepare(questionnaire)

    def load_evidence(self, post: Post, fairness_key: Hashable = None) -> AbstractAsyncContextManager[Evidence]:
        """What of the post can be loaded, held while it is judged, for all attempts. A bad image never raises."""
        return self._evidence_loader.load(post, fairness_key)

    async def judge(
        self,
        post: Post,
        *,
        trace_id: str,
        queue_ms: float = 0.0,
        published: bool = True,
        evidence: Evidence | None = None,
    ) -> JudgeResult:
        """Judge one post, on `evidence` where the caller holds it for several attempts.

        A verdict that is not to be `published` is kept out of the cache: no other may be its duplicate.
        Raises Transient where another attempt may succeed, Poison where this post breaks the engine.
        """
        async with nullcontext(evidence) if evidence else self.load_evidence(post) as evidence:  # noqa: PLR1704
            with tracing.step("match banks"):
                known = await match_banks(self.banks, evidence, self._hma)
            if not known.is_final:
                with tracing.step("read images"):
                    evidence = await self._evidence_loader.with_image_text(evidence)  # noqa: PLW2901 - and more
                    known = await match_image_text(self.banks, evidence, known)

            begun = self._clock()
            text = post.text or evidence.image_text
            language = language_of(self._language, post.language, text, self.pack, self.shadow_pack)
            content = describe_content(post, language.judged, evidence.loaded)
            key = content_key(content, post.surface, self.pack.digest, self.model, known.matches)
            is_reusable = published and evidence.loaded.is_whole
            async with self._result_cache.entry(f"{key} {language.shadow}" if is_reusable else None) as entry:
                if (result := entry.result) is None:
                    result = await self._judge_content(post, language, content, evidence, known, key)
                    entry.result = result
            timings = timings_of(queue_ms, evidence.loaded, result, (self._clock() - begun) * 1000)
            verdict = self._verdict_builder.build(post, language, result, known, trace_id, timings)
            if published and (similar_to := self._near_duplicates.find(verdict)):
                verdict = verdict.model_copy(update={"similar_to": similar_to})
            self._record(verdict, result)
            count_matches(self.banks, known)
            return JudgeResult(verdict, result.tokens)

    async def _judge_content(
        self, post: Post, language: PostLanguage, content: Content, evidence: Evidence, known: KnownContent, key: str
    ) -> CachedResult:
        """Score, attribute, decide and explain: all of a verdict that is the same for every post of this content."""
        enforced, shadow = self._no_scorers if known.is_final else self._scorers(language.judged, language.shadow)
        async with self._asking_shadow_model(known, language.judged, evidence, post.surface, key) as second:
            with tracing.step("score"):
                scores, shadow_scores = await run_with_shadow(
                    enforced.score(evidence, post.surface), shadow.score(evidence, post.surface)
                )

            attribution_begun = self._clock()
            sampled = int(key[:8], 16) < self._settings.attribution_sample * 2**32
            with tracing.step("attribute"):
                (policies, tokens), shadow_result = await run_with_shadow(
                    enforced.attribute(evidence, scores, sampled=sampled),
                    shadow.attribute(evidence, shadow_scores, sampled=sampled),
                )

            reason = None
            if not known.is_final:
                content = content_as_read(content, scores.scored, evidence.loaded)
                reason = find_abstain_reason(content, policies, self._settings.min_label_mass)
            decision, decided_by = with_known_content(decide(policies, reason), known)
            route = known.route or find_route(policies, self._by_id)
            if decision.is_flagged and not route:
                content = with_image_words(content, evidence.loaded)

            explain_begun = self._clock()
            with tracing.step("explain"):
                by_bank = decided_by is DecidedBy.BANK and decision.is_flagged
                match = gravest_match(known.matches) if by_bank else None
                said = ((), None) if route else (policies, reason)  # of what has a route only the match
                explanation = await self._explainer.explain(*said, self._by_id, evidence, language.judged, match)
            return CachedResult(
                post_id=post.post_id,
                revision=post.revision,
                content=content,
                flags=flags(content, suspected=bool(evidence.words_without_injections)),
                policies=policies,
                shadow=shadow_result,
                decision=decision,
                decided_by=decided_by,
                route=route,
                abstain_reason=reason if decision is Decision.ABSTAIN else None,
                explanation=explanation,
                tokens=scores.scored.tokens + tokens + shadow_result.tokens,
                attribution_ms=(explain_begun - attribution_begun) * 1000,
                explain_ms=(self._clock() - explain_begun) * 1000,
                shadow_model=await second(),
            )

    def _use_policies(self, pack: PolicyPack, shadow_pack: PolicyPack | None) -> None:
        self.pack, self.shadow_pack = pack, shadow_pack
        self._by_id = {policy.id: policy for policy in pack.enforced}
        self._verdict_builder = VerdictBuilder(pack, self.model, self._sampler, self._settings.redress)
        self._shadow_sets = shadow_sets(pack, shadow_pack)
        self._scorers = cache(self._make_scorers)
        self._result_cache = ResultCache(self._settings.result_cache_size)  # titles and shadow policies may differ

    def _make_scorers(self, language: Language, shadow_language: Language) -> tuple[PolicyScorer, ShadowScorer]:
        def scorer(pack: PolicyPack, mode: Mode, batcher: Batcher) -> PolicyScorer:
            own = shadow_language if pack is self.shadow_pack else language
            questionnaire = pack.questionnaire(own, mode)
            return PolicyScorer(pack.of(mode), questionnaire, batcher, self.calibration, self._settings)

        shadow = [scorer(*chosen, self._shadow_batcher) for chosen in self._shadow_sets]
        return scorer(self.pack, Mode.ENFORCE, self._batcher), ShadowScorer(shadow)

    def _asking_shadow_model(
        self, known: KnownContent, language: Language, evidence: Evidence, surface: str | None, key: str
    ) -> AbstractAsyncContextManager[Answer]:
        if self._shadow_model is None or known.is_final or known.route:  # no second engine sees what has a route
            return nullcontext(no_answer)
        return self._shadow_model.asking(self.pack, language, evidence, surface, key)

    def _record(self, verdict: Verdict, result: CachedResult) -> None:
        """Count the verdict in metrics, and its scores towards drift."""
        _DECIDED[verdict.decision].inc()
        for image in verdict.content.images:
            metrics.IMAGES.labels(image.status).inc()
        for policy in verdict.policies:
            if policy.violated:
                named = policy.attribution.class_ if policy.attribution else "unknown"
                metrics.VIOLATIONS.labels(policy.policy_id, named).inc()
        for stage, seconds in _STAGES.items():
            if took := getattr(verdict.timings_ms, stage):  # a step that a post did not need took no time
                seconds.observe(took / 1000)
        self._drift.record(verdict.policies)
        for policy_id in result.shadow.flips(result.policies, result.decision):
            metrics.SHADOW_FLIPS.labels(policy_id).inc()
        count_model_flips(result.shadow_model, result.policies)
