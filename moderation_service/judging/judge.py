"""One post to one verdict: load images, score, attribute, decide, explain, seal."""

import asyncio
import hashlib
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from typing import TypeVar

import structlog

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
from moderation_service.engine.base import Engine, Scored
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.decision import STRENGTH, cannot_tell, decide, flags
from moderation_service.judging.evidence import Evidence, EvidenceRoom
from moderation_service.judging.explanation import explain
from moderation_service.judging.judged import Judged
from moderation_service.judging.panel import NOT_ASKED, Panel
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.language import language_of
from moderation_service.policies.model import Mode
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import Settings
from moderation_service.telemetry import metrics

T = TypeVar("T")
log = structlog.get_logger(__name__)


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
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._settings = settings.judging
        self._language = settings.policies.language
        self._pack = pack
        self._calibration = calibration
        self._room = EvidenceRoom(settings.media, loader)
        self._batcher = batcher
        self._clock = clock
        asked = Model(**asdict(engine.info), calibration_id=calibration.calibration_id)
        self.model = asked.model_copy(update={"prompt_digest": _bounded(asked.prompt_digest, settings)})
        self._service = Service(version=__version__, instance=f"{socket.gethostname()}:{os.getpid()}")
        self._panels = cache(self._make_panels)

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
        enforced_joint, shadow_joint = await asyncio.gather(
            enforced.joint(evidence, post.surface), _apart(shadow.joint(evidence, post.surface), NOT_ASKED)
        )
        content = _content(post, language, evidence, enforced_joint.scored)
        named = verdict_id(
            post_id=post.post_id,
            revision=post.revision,
            content=content,
            surface=post.surface,
            policy_set_digest=self._pack.digest,
            model=self.model,
        )

        views_begun = self._clock()
        sampled = int(named[:8], 16) < self._settings.views_sample * 2**32
        (policies, tokens), (shadow_policies, shadow_tokens) = await asyncio.gather(
            enforced.verdicts(evidence, enforced_joint, sampled=sampled),
            _apart(shadow.verdicts(evidence, shadow_joint, sampled=sampled), ((), 0)),
        )

        explain_begun = self._clock()
        reason = cannot_tell(content, policies, self._settings.min_label_mass)
        decision = decide(policies, reason)
        explanation = self._explain(policies, language)
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
            shadow=shadow_policies,
            explanation=explanation,
            content=content,
            model=self.model,
            policy_set_digest=self._pack.digest,
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


def _bounded(prompt_digest: str, settings: Settings) -> str:
    """The engine's prompt digest, with the bounds on what of a post gets into a prompt."""
    media = settings.media
    bounds = [settings.engine.max_context_tokens, media.max_images, media.max_frames, media.max_side]
    return "sha256:" + hashlib.sha256(json.dumps([prompt_digest, bounds]).encode()).hexdigest()


async def _apart(work: Awaitable[T], otherwise: T) -> T:
    """What shadow policies say; nothing of theirs may touch the enforced, and so neither may their failures."""
    try:
        return await work
    except Exception as error:
        log.exception("shadow policies were not judged", error=type(error).__name__)
        return otherwise


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
    for policy in verdict.shadow:
        if STRENGTH.index(policy.outcome) > STRENGTH.index(verdict.decision):
            metrics.SHADOW_FLIPS.labels(policy.policy_id).inc()
    for stage in ("queue", "fetch", "decode", "score", "views", "explain"):
        metrics.STAGE_SECONDS.labels(stage).observe(getattr(verdict.timings_ms, stage) / 1000)
