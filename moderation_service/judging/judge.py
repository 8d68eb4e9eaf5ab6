"""One post to one verdict: load images, score, attribute, decide, explain, seal."""

import asyncio
import hashlib
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache

from moderation_service import __version__
from moderation_service.contracts.post import Post
from moderation_service.contracts.question import Language
from moderation_service.contracts.verdict import (
    Content,
    ImageContent,
    Model,
    PolicyVerdict,
    Service,
    Timings,
    Verdict,
    verdict_id,
)
from moderation_service.engine.base import Engine
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.decision import cannot_tell, decide, flags
from moderation_service.judging.explanation import explain
from moderation_service.judging.judged import Judged
from moderation_service.judging.panel import Evidence, Panel
from moderation_service.media.loader import ImageLoader, LoadedImage
from moderation_service.policies.language import language_of
from moderation_service.policies.model import Mode
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import JudgingSettings, PolicySettings
from moderation_service.telemetry import metrics


class Judge:
    """Holds what every post is judged by; `judge` may run for many posts at once."""

    def __init__(  # noqa: PLR0913 - the judge's parts, handed in by the composition root
        self,
        *,
        settings: JudgingSettings,
        policy_settings: PolicySettings,
        pack: PolicyPack,
        calibration: Calibration,
        loader: ImageLoader,
        engine: Engine,
        batcher: Batcher,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._settings = settings
        self._language = policy_settings.language
        self._pack = pack
        self._calibration = calibration
        self._loader = loader
        self._batcher = batcher
        self._clock = clock
        info = engine.info
        self._model = Model(
            name=info.name,
            revision=info.revision,
            dtype=info.dtype,
            quantization=info.quantization,
            engine=info.engine,
            layout=info.layout,
            prompt_digest=info.prompt_digest,
            calibration_id=calibration.calibration_id,
        )
        self._service = Service(version=__version__, instance=f"{socket.gethostname()}:{os.getpid()}")
        self._panels = cache(self._make_panels)

    async def judge(self, post: Post, *, trace_id: str, queue_ms: float = 0.0) -> Judged:
        """Judge a post. Raises Transient where trying again may help; a bad picture never raises."""
        begun = self._clock()
        loaded = await self._loader.load(post.images)
        pictures = tuple(frame for image in loaded.images for frame in image.frames)
        evidence = Evidence(post.text if post.text.strip() else "", pictures)
        language = language_of(self._language, post.language, post.text)
        enforced, shadow = self._panels(language)

        score_begun = self._clock()
        enforced_joint, shadow_joint = await asyncio.gather(
            enforced.joint(evidence, post.surface), shadow.joint(evidence, post.surface)
        )
        content = _content(post, language, loaded.images, truncated=enforced_joint.scored.truncated)
        named = verdict_id(
            post_id=post.post_id,
            revision=post.revision,
            content=content,
            surface=post.surface,
            policy_set_digest=self._pack.digest,
            model=self._model,
        )

        views_begun = self._clock()
        sampled = int(named[:8], 16) < self._settings.views_sample * 2**32
        (policies, tokens), (shadow_policies, shadow_tokens) = await asyncio.gather(
            enforced.verdicts(evidence, enforced_joint, sampled=sampled),
            shadow.verdicts(evidence, shadow_joint, sampled=sampled),
        )

        explain_begun = self._clock()
        reason = cannot_tell(content, policies, self._settings.min_label_mass)
        decision = decide(policies, reason)
        explanation = self._explain(policies, language)
        sealed = self._clock()
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
            shadow=shadow_policies,
            explanation=explanation,
            content=content,
            model=self._model,
            policy_set_digest=self._pack.digest,
            service=self._service,
            trace_id=trace_id,
            timings_ms=Timings(
                queue=_ms(queue_ms),
                fetch=_ms(loaded.fetch_ms),
                decode=_ms(loaded.decode_ms),
                score=_ms((views_begun - score_begun) * 1000),
                views=_ms((explain_begun - views_begun) * 1000),
                explain=_ms((sealed - explain_begun) * 1000),
                total=_ms(queue_ms + (sealed - begun) * 1000),
            ),
            judged_at=datetime.now(UTC),
            statement_of_reasons=None,
        )
        _count(verdict)
        joint_tokens = enforced_joint.scored.tokens + shadow_joint.scored.tokens
        return Judged(verdict, joint_tokens + tokens + shadow_tokens)

    def _make_panels(self, language: Language) -> tuple[Panel, Panel]:
        def panel(mode: Mode) -> Panel:
            policies = self._pack.enforced if mode == "enforce" else self._pack.shadow
            questionnaire = self._pack.questionnaire(language, mode)
            return Panel(policies, questionnaire, self._batcher, self._calibration, self._settings)

        return panel("enforce"), panel("shadow")

    def _explain(self, policies: tuple[PolicyVerdict, ...], language: Language) -> str | None:
        if self._settings.explain == "never":
            return None
        titles = {policy.id: policy.title.in_language(language) for policy in self._pack.enforced}
        return explain(policies, titles, language)


def _content(post: Post, language: Language, images: tuple[LoadedImage, ...], *, truncated: bool) -> Content:
    return Content(
        text_sha256=hashlib.sha256(post.text.encode()).hexdigest() if post.text else None,
        language=language,
        truncated=truncated,
        images=tuple(
            ImageContent(
                sha256=image.sha256,
                width=image.width,
                height=image.height,
                frames=len(image.frames),
                media_type=image.media_type,
                status=image.status,
            )
            for image in images
        ),
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
