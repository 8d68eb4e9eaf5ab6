"""One post to one verdict: load images, score, attribute, decide, explain, seal."""

import asyncio
import hashlib
import os
import socket
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from copy import copy
from datetime import UTC, datetime
from functools import cache

from moderation_service import __version__
from moderation_service.contracts.post import Post
from moderation_service.contracts.question import Language
from moderation_service.contracts.verdict import (
    Content,
    ImageContent,
    Service,
    Timings,
    Verdict,
    verdict_id,
)
from moderation_service.engine.base import Engine, Scored
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.decision import cannot_tell, decide, flags
from moderation_service.judging.evidence import Evidence, EvidenceRoom
from moderation_service.judging.explaining import Explainer
from moderation_service.judging.judged import Judged
from moderation_service.judging.panel import Panel
from moderation_service.judging.recorded import recorded_model
from moderation_service.judging.shadow import Shadow, shadow_sets
from moderation_service.judging.statement import draft
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.language import language_of
from moderation_service.policies.model import Mode
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import Settings
from moderation_service.telemetry import metrics

LANGUAGES: tuple[Language, ...] = ("en", "zh")


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
        self.model = recorded_model(engine.info, settings, calibration.calibration_id)
        self._service = Service(version=__version__, instance=f"{socket.gethostname()}:{os.getpid()}")
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

    async def judge(self, post: Post, *, trace_id: str, queue_ms: float = 0.0) -> Judged:
        """Load a post's evidence and judge it, once. Raises as `judge_on`."""
        async with self.evidence(post) as evidence:
            return await self.judge_on(post, evidence, trace_id=trace_id, queue_ms=queue_ms)

    def evidence(self, post: Post) -> AbstractAsyncContextManager[Evidence]:
        """What of the post could be had, held while it is judged, also again and again. A bad picture never raises."""
        return self._room.of(post)

    async def judge_on(self, post: Post, evidence: Evidence, *, trace_id: str, queue_ms: float = 0.0) -> Judged:
        """Judge a post on its evidence.

        Raises Transient where trying again may help, Poison where this post breaks the engine.
        """
        begun = self._clock()
        language = language_of(self._language, post.language, post.text)
        enforced, shadow = self._panels(language)
        enforced_joint, shadow_joints = await asyncio.gather(
            enforced.joint(evidence, post.surface), shadow.joint(evidence, post.surface)
        )
        content = _content(post, language, evidence, enforced_joint.scored)
        named = verdict_id(
            post_id=post.post_id,
            revision=post.revision,
            content=content,
            surface=post.surface,
            policy_set_digest=self.pack.digest,
            model=self.model,
        )

        views_begun = self._clock()
        sampled = int(named[:8], 16) < self._settings.views_sample * 2**32
        (policies, tokens), shadowed = await asyncio.gather(
            enforced.verdicts(evidence, enforced_joint, sampled=sampled),
            shadow.verdicts(evidence, shadow_joints, sampled=sampled),
        )

        explain_begun = self._clock()
        reason = cannot_tell(content, policies, self._settings.min_label_mass)
        decision = decide(policies, reason)
        explanation = await self._explainer.explain(policies, self._by_id, reason, evidence, language)
        sealed = self._clock()
        loading_ms = evidence.loaded.fetch_ms + evidence.loaded.decode_ms
        verdict = Verdict(
            verdict_id=named,
            post_id=post.post_id,
            post_revision=post.revision,
            author_id=post.author_id,
            surface=post.surface,
            metadata=post.metadata,
            decision=decision,
            abstain_reason=reason if decision == "abstain" else None,
            flags=flags(content),
            duplicate_of=None,
            policies=policies,
            shadow=shadowed.parts,
            explanation=explanation.text,
            explanation_kind=explanation.kind,
            content=content,
            model=self.model,
            policy_set_digest=self.pack.digest,
            service=self._service,
            trace_id=trace_id,
            timings_ms=Timings(
                queue=_ms(queue_ms),
                fetch=_ms(evidence.loaded.fetch_ms),
                decode=_ms(evidence.loaded.decode_ms),
                score=_ms((views_begun - begun) * 1000),
                views=_ms((explain_begun - views_begun) * 1000),
                explain=_ms((sealed - explain_begun) * 1000),
                total=_ms(queue_ms + loading_ms + (sealed - begun) * 1000),
            ),
            judged_at=datetime.now(UTC),
            statement_of_reasons=None,
        )
        verdict = verdict.model_copy(update={"statement_of_reasons": draft(verdict, post, self._by_id, language)})
        _count(verdict)
        for policy_id in shadowed.flips(policies, decision):
            metrics.SHADOW_FLIPS.labels(policy_id).inc()
        return Judged(verdict, enforced_joint.scored.tokens + tokens + shadowed.tokens)

    def _rule_by(self, pack: PolicyPack, shadow_pack: PolicyPack | None) -> None:
        self.pack, self.shadow_pack = pack, shadow_pack
        self._by_id = {policy.id: policy for policy in pack.enforced}
        self._shadow_sets = shadow_sets(pack, shadow_pack)
        self._panels = cache(self._make_panels)

    def _make_panels(self, language: Language) -> tuple[Panel, Shadow]:
        def panel(pack: PolicyPack, mode: Mode, batcher: Batcher) -> Panel:
            questionnaire = pack.questionnaire(language, mode)
            return Panel(pack.of(mode), questionnaire, batcher, self.calibration, self._settings)

        apart = [panel(*chosen, self._shadow_batcher) for chosen in self._shadow_sets]
        return panel(self.pack, "enforce", self._batcher), Shadow(apart)


def _content(post: Post, language: Language, evidence: Evidence, scored: Scored) -> Content:
    read = scored.images_read
    images = []
    for image in evidence.loaded.images:
        frames = min(len(image.frames), read)
        read -= frames
        unread = image.status == "judged" and frames == 0
        images.append(
            ImageContent(
                sha256=image.sha256,
                width=image.width,
                height=image.height,
                frames=frames,
                media_type=image.media_type,
                status="skipped" if unread else image.status,
            )
        )
    return Content(
        text_sha256=hashlib.sha256(post.text.encode()).hexdigest() if post.text else None,
        language=language,
        truncated=scored.truncated,
        images=tuple(images),
    )


def _ms(milliseconds: float) -> float:
    return round(max(milliseconds, 0.0), 2)


def _count(verdict: Verdict) -> None:
    metrics.VERDICTS.labels(verdict.decision).inc()
    for image in verdict.content.images:
        metrics.IMAGES.labels(image.status).inc()
    for policy in verdict.policies:
        if policy.violated:
            named = policy.attribution.class_ if policy.attribution else "unknown"
            metrics.VIOLATIONS.labels(policy.policy_id, named).inc()
    for stage in ("queue", "fetch", "decode", "score", "views", "explain"):
        metrics.STAGE_SECONDS.labels(stage).observe(getattr(verdict.timings_ms, stage) / 1000)
