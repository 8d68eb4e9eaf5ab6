"""Verdict builder: the verdict of one post from what judging found, and the model's metadata that it records."""

import hashlib
import json
import os
import socket
from dataclasses import asdict
from datetime import UTC, datetime

from moderation_service import __version__
from moderation_service.audits.sampling import AuditSampler
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Model, Service, Timings, Verdict, verdict_id
from moderation_service.engine.base import EngineInfo
from moderation_service.judging.injection import RULES
from moderation_service.judging.known_content import KnownContent
from moderation_service.judging.result_cache import CachedResult
from moderation_service.judging.statement import draft_statement
from moderation_service.media.image_text import ocr_rules
from moderation_service.media.loaded_image import LoadedImages
from moderation_service.policies.language import PostLanguage
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import Settings


def model_metadata(engine: EngineInfo, settings: Settings, calibration_id: str | None) -> Model:
    """What answered. Its prompt digest covers too what bounds a post, what counts as an injection, and OCR."""
    media = settings.media
    bounds = [engine.context_tokens, media.max_images, media.max_frames, media.max_side]
    rules = ocr_rules(media)
    digested = [engine.prompt_digest, bounds, RULES, *([rules] if rules else [])]  # without OCR as before there was any
    digest = hashlib.sha256(json.dumps(digested).encode()).hexdigest()
    known = {name: value for name, value in asdict(engine).items() if name in Model.model_fields}
    made = Model(**known, calibration_id=calibration_id)
    return made.model_copy(update={"prompt_digest": f"sha256:{digest}"})


class VerdictBuilder:
    """Builds verdicts by one pack and one model."""

    def __init__(self, pack: PolicyPack, model: Model, sampler: AuditSampler, redress: str | None = None) -> None:
        self._policy_set_digest = pack.digest
        self._by_id = {policy.id: policy for policy in pack.enforced}
        self._model, self._sampler, self._redress = model, sampler, redress
        self._service = Service(version=__version__, instance=f"{socket.gethostname()}:{os.getpid()}")

    def build(
        self,
        post: Post,
        language: PostLanguage,
        result: CachedResult,
        known: KnownContent,
        trace_id: str,
        timings: Timings,
    ) -> Verdict:
        """The verdict, with its statement of reasons and its draw. One with a route has neither, and no metadata."""
        own, first = (post.post_id, post.revision), (result.post_id, result.revision)
        verdict = Verdict(
            verdict_id=self._verdict_id(result, known, post.surface, *own),
            post_id=post.post_id,
            post_revision=post.revision,
            author_id=post.author_id,
            surface=None if result.route else post.surface,
            metadata={} if result.route else post.metadata,
            decision=result.decision,
            abstain_reason=result.abstain_reason,
            flags=result.flags,
            duplicate_of=None if first == own else self._verdict_id(result, known, post.surface, *first),
            policies=result.policies,
            shadow=result.shadow.policies,
            shadow_model=result.shadow_model,
            explanation=result.explanation.text,
            explanation_kind=result.explanation.kind,
            content=result.content,
            model=self._model,
            policy_set_digest=self._policy_set_digest,
            service=self._service,
            trace_id=trace_id,
            timings_ms=timings,
            judged_at=datetime.now(UTC),
            statement_of_reasons=None,
            decided_by=result.decided_by,
            route=result.route,
            matches=known.matches,
            shadow_matches=known.shadow_matches,
            banks_digest=known.banks_digest,
            post_language=None if result.route else post.language,
            detected_language=None if result.route else language.detected,
        )
        if result.route:
            return verdict
        reasons = draft_statement(verdict, post, self._by_id, language.judged, self._redress)
        draw = self._sampler.draw(verdict)
        return (
            verdict.model_copy(update={"statement_of_reasons": reasons, "audit": draw}) if reasons or draw else verdict
        )

    def _verdict_id(
        self, result: CachedResult, known: KnownContent, surface: str | None, post_id: str, revision: int
    ) -> str:
        return verdict_id(
            post_id=post_id,
            revision=revision,
            content=result.content,
            surface=surface,
            policy_set_digest=self._policy_set_digest,
            model=self._model,
            matches=known.matches,
        )


def timings_of(queue_ms: float, loaded: LoadedImages, result: CachedResult, judging_ms: float) -> Timings:
    """How long each step took, of `judging_ms` behind the loading of images."""
    return Timings(
        queue=_ms(queue_ms),
        fetch=_ms(loaded.fetch_ms),
        decode=_ms(loaded.decode_ms),
        score=_ms(judging_ms - result.attribution_ms - result.explain_ms),
        attribution=_ms(result.attribution_ms),
        explain=_ms(result.explain_ms),
        total=_ms(queue_ms + loaded.fetch_ms + loaded.decode_ms + judging_ms),
    )


def _ms(milliseconds: float) -> float:
    return round(max(milliseconds, 0.0), 2)
