"""The last step: a post's own verdict, by what was found in its content."""

import os
import socket
from datetime import UTC, datetime

from moderation_service import __version__
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Content, Model, Service, Timings, Verdict, verdict_id
from moderation_service.judging.cached_result import CachedResult
from moderation_service.judging.decision import flags
from moderation_service.judging.statement import draft
from moderation_service.policies.pack import PolicyPack


class VerdictBuilder:
    """Names verdicts and makes them, by one pack and one model."""

    def __init__(self, pack: PolicyPack, model: Model, redress: str | None = None) -> None:
        self._digest = pack.digest
        self._by_id = {policy.id: policy for policy in pack.enforced}
        self._model, self._redress = model, redress
        self._service = Service(version=__version__, instance=f"{socket.gethostname()}:{os.getpid()}")

    def key(self, content: Content, surface: str | None) -> str:
        """What a verdict's id is of, but for the post: its twins have the same."""
        return self._named(content, surface, "", 0)

    def seal(self, post: Post, found: CachedResult, trace_id: str, timings: Timings) -> Verdict:
        """The verdict, with its statement of reasons."""
        own, first = (post.post_id, post.revision), (found.post_id, found.revision)
        verdict = Verdict(
            verdict_id=self._named(found.content, post.surface, *own),
            post_id=post.post_id,
            post_revision=post.revision,
            author_id=post.author_id,
            surface=post.surface,
            metadata=post.metadata,
            decision=found.decision,
            abstain_reason=found.unseen if found.decision == "abstain" else None,
            flags=flags(found.content, suspected=found.suspected),
            duplicate_of=None if first == own else self._named(found.content, post.surface, *first),
            policies=found.policies,
            shadow=found.shadowed.parts,
            explanation=found.explanation.text,
            explanation_kind=found.explanation.kind,
            content=found.content,
            model=self._model,
            policy_set_digest=self._digest,
            service=self._service,
            trace_id=trace_id,
            timings_ms=timings,
            judged_at=datetime.now(UTC),
            statement_of_reasons=None,
        )
        reasons = draft(verdict, post, self._by_id, found.language, self._redress)
        return verdict.model_copy(update={"statement_of_reasons": reasons}) if reasons else verdict

    def _named(self, content: Content, surface: str | None, post_id: str, revision: int) -> str:
        return verdict_id(
            post_id=post_id,
            revision=revision,
            content=content,
            surface=surface,
            policy_set_digest=self._digest,
            model=self._model,
        )
