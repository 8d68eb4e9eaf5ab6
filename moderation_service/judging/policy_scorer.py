"""Policy scorer: one set of policies (enforced or shadow) on one post. Scores, modality passes, outcomes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from moderation_service.contracts.engine_input import Questionnaire
from moderation_service.contracts.enums import Outcome
from moderation_service.contracts.verdict import PolicyVerdict, Thresholds
from moderation_service.engine.base import LabelScore, ScoreRequest, ScoreResult
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.decision import attribute, outcome
from moderation_service.judging.evidence import Evidence
from moderation_service.policies.model import Policy
from moderation_service.settings import JudgingSettings

_SCOPES = 64  # by modality and surface, whose policies are cached


@dataclass(frozen=True, slots=True)
class FullPostScores:
    """Scores of the full post: the asked policies (indices into the questionnaire) and their labels."""

    asked: tuple[int, ...]
    scored: ScoreResult


class PolicyScorer:
    """Asks the engine for one set of policies. `policies` and `questionnaire` are in the same order."""

    def __init__(
        self,
        policies: Sequence[Policy],
        questionnaire: Questionnaire,
        batcher: Batcher,
        calibration: Calibration,
        settings: JudgingSettings,
    ) -> None:
        self.policies = policies
        self._thresholds = tuple(
            calibration.thresholds(policy.id, Thresholds(**policy.thresholds.model_dump())) for policy in policies
        )
        self._questionnaire = questionnaire
        self._batcher = batcher
        self._calibration = calibration
        self._settings = settings
        self._in_scope = lru_cache(_SCOPES)(self._applying)

    async def score(self, evidence: Evidence, surface: str | None) -> FullPostScores:
        """Score the full post by every policy in whose scope it is."""
        asked = self._in_scope(bool(evidence.words), bool(evidence.images), surface)
        if not asked:
            return FullPostScores((), ScoreResult.unasked(evidence.images))
        return FullPostScores(asked, await self._score(evidence, asked))

    async def attribute(
        self, evidence: Evidence, full: FullPostScores, *, sampled: bool
    ) -> tuple[tuple[PolicyVerdict, ...], int]:
        """Each asked policy's verdict, with its attribution where the modality passes ran; tokens read for these."""
        wanted = self._wants_passes(full, sampled=sampled) if evidence.has_both_modalities else ()
        texts: dict[int, LabelScore] = {}
        images: dict[int, LabelScore] = {}
        tokens = 0
        if wanted:
            text_pass, image_pass = await asyncio.gather(
                self._score(evidence.text_pass, wanted),
                self._score(evidence.image_pass, wanted),
            )
            texts = dict(zip(wanted, text_pass.labels, strict=True))
            images = dict(zip(wanted, image_pass.labels, strict=True))
            tokens = text_pass.tokens + image_pass.tokens
        elif not evidence.has_both_modalities:
            # The full post is the pass of its one modality.
            labels = dict(zip(full.asked, full.scored.labels, strict=True))
            texts, images = (labels, {}) if evidence.text else ({}, labels)
        parts = tuple(
            self._policy_verdict(index, label, texts.get(index), images.get(index))
            for index, label in zip(full.asked, full.scored.labels, strict=True)
        )
        return parts, tokens

    async def _score(self, evidence: Evidence, asked: tuple[int, ...]) -> ScoreResult:
        """One pass. Where an injection is suspected, the post is scored without it too, and the highest scores count.

        So a recognised injection can only raise scores, never lower them. One that is drawn into an image is taken out
        of the pixels too.
        """
        request = ScoreRequest(evidence.words, evidence.images, self._questionnaire, asked)
        images = evidence.images_without_text or request.images
        others = [
            ScoreRequest(rest, images, self._questionnaire, asked)
            for rest in evidence.words_without_injections
            if rest or images
        ]
        if not others:
            return await self._batcher.score(request, evidence.fairness_key)
        passes = [self._batcher.score(one, evidence.fairness_key) for one in (request, *others)]
        whole, *rest = await asyncio.gather(*passes)
        labels = tuple(
            LabelScore(max(label.score for label in each), min(label.mass for label in each))
            for each in zip(whole.labels, *(one.labels for one in rest), strict=True)
        )
        return replace(whole, labels=labels, tokens=whole.tokens + sum(one.tokens for one in rest))

    def _applying(self, has_text: bool, has_images: bool, surface: str | None) -> tuple[int, ...]:  # noqa: FBT001 - a key
        return tuple(
            index
            for index, policy in enumerate(self.policies)
            if policy.applies_to(has_text=has_text, has_images=has_images, surface=surface)
        )

    def _wants_passes(self, full: FullPostScores, *, sampled: bool) -> tuple[int, ...]:
        if self._settings.attribution == "never":
            return ()
        if self._settings.attribution == "always" or sampled:
            return full.asked
        return tuple(
            index
            for index, label in zip(full.asked, full.scored.labels, strict=True)
            if self._near_or_over(index, label)
        )

    def _near_or_over(self, index: int, label: LabelScore) -> bool:
        if not self._is_answer(label):
            return False
        score = self._calibration.apply(self.policies[index].id, label.score)
        return score >= self._thresholds[index].review - self._settings.attribution_margin

    def _is_answer(self, label: LabelScore) -> bool:
        """Whether the model answered yes or no at all: a score of low label mass decides nothing, either way."""
        return label.mass >= self._settings.min_label_mass

    def _policy_verdict(
        self, index: int, label: LabelScore, text: LabelScore | None, image: LabelScore | None
    ) -> PolicyVerdict:
        policy, thresholds = self.policies[index], self._thresholds[index]

        def calibrated(label: LabelScore | None) -> float | None:
            return None if label is None else self._calibration.apply(policy.id, label.score)

        score = self._calibration.apply(policy.id, label.score)
        text_only, image_only = calibrated(text), calibrated(image)
        answered = self._is_answer(label)
        passes = [one for one in (text, image) if one is not None]
        measured = answered and bool(passes) and all(map(self._is_answer, passes))
        alone = [one for one in (text_only, image_only) if one is not None] if measured else []
        may_block = self._settings.block_uncalibrated or policy.id in self._calibration.policies
        return PolicyVerdict(
            policy_id=policy.id,
            version=policy.version,
            digest=policy.digest,
            outcome=outcome(score, thresholds, alone, may_block=may_block) if answered else Outcome.ALLOW,
            violated=answered and score >= thresholds.review,
            severity=policy.severity,
            score=score,
            raw_score=label.score,
            label_mass=label.mass,
            thresholds=thresholds,
            attribution=attribute(score, text_only, image_only, thresholds.review) if measured else None,
        )
