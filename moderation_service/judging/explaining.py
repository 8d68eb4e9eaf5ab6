"""The step after the decision: why a post was flagged, by the model's words where it can talk, else by template."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import structlog

from moderation_service.contracts.question import Language
from moderation_service.contracts.verdict import AbstainReason, ExplanationKind, PolicyVerdict
from moderation_service.engine.base import ExplainRequest
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.decision import gravest_first
from moderation_service.judging.evidence import Evidence
from moderation_service.judging.explanation import cannot_tell_why, explain, place
from moderation_service.judging.prose import Unfit, fit
from moderation_service.policies.model import Policy
from moderation_service.settings import Settings
from moderation_service.telemetry import metrics

MAX_FINDINGS = 3
"""The gravest violated policies, which the model is told of."""
MAX_FINDING = 400  # characters: a title may be long

log = structlog.get_logger(__name__)


class Explanation(NamedTuple):
    """What a verdict says of why, and who says it; both None where there is nothing to explain.

    Not `lasting` where the template stands in for words that the model may find the next time.
    """

    text: str | None
    kind: ExplanationKind | None
    lasting: bool = True


class Explainer:
    """Explains flagged posts. What fails, or is not fit to be said, is replaced by the template, and counted."""

    def __init__(self, settings: Settings, batcher: Batcher) -> None:
        self._mode = settings.explanations
        self._within_s = settings.judging.explain_timeout_s
        self._batcher = batcher

    async def explain(
        self,
        policies: Sequence[PolicyVerdict],
        by_id: Mapping[str, Policy],
        unseen: AbstainReason | None,
        evidence: Evidence,
        language: Language,
    ) -> Explanation:
        """Explain the violated policies (`by_id` has their words), else the abstention (`unseen`). Never raises."""
        violated = gravest_first(policies)
        if self._mode == "never" or not (violated or unseen):
            return Explanation(None, None)
        outcome = "template"
        if violated and self._mode == "generate":
            try:
                findings = tuple(_finding(policy, by_id, language) for policy in violated[:MAX_FINDINGS])
                text = await self._write(findings, evidence, language)
            except Unfit as unfit:
                outcome = unfit.reason
                log.info("explanation not fit to be said", reason=outcome)
            except Exception as error:  # noqa: BLE001 - whatever fails here, the post is judged
                outcome = "failed"
                log.warning("explanation failed", error=type(error).__name__)
            else:
                metrics.EXPLANATIONS.labels("generated").inc()
                return Explanation(text, "generated")
        metrics.EXPLANATIONS.labels(outcome).inc()
        lasting = outcome not in {"busy", "failed", "timeout"}
        return Explanation(_template(policies, by_id, unseen, language), "template", lasting=lasting)

    async def _write(self, findings: tuple[str, ...], evidence: Evidence, language: Language) -> str:
        """The model's words, made fit. Raises Unfit, or what the engine raised."""
        if self._batcher.busy:
            raise Unfit("busy")
        request = ExplainRequest(evidence.text, evidence.pictures, language, findings, self._within_s)
        try:
            async with asyncio.timeout(self._within_s):
                written = await self._batcher.explain(request)
        except TimeoutError:
            raise Unfit("timeout") from None
        if written.ended == "time":
            # How far it came depends on the machine's load: nobody could write it again.
            raise Unfit("timeout")
        # On a thread: a post of megabytes takes seconds to compare with.
        return await asyncio.to_thread(fit, written.text, evidence.text, language)


def _finding(policy: PolicyVerdict, by_id: Mapping[str, Policy], language: Language) -> str:
    own = by_id[policy.policy_id]
    said = (own.title.in_language(language), own.question.in_language(language), place(policy, language))
    return "; ".join(filter(None, said))[:MAX_FINDING]


def _template(
    policies: Sequence[PolicyVerdict], by_id: Mapping[str, Policy], unseen: AbstainReason | None, language: Language
) -> str | None:
    titles = {policy_id: policy.title.in_language(language) for policy_id, policy in by_id.items()}
    return explain(policies, titles, language) or (cannot_tell_why(unseen, language) if unseen else None)
