"""A second model in shadow: it judges a share of the posts by the same policies, beside the one in force.

It decides nothing, and what it does not answer in time a verdict goes without. Circuit breaker: after some posts in a
row that it failed or was late on, it is not asked for a while.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial

import structlog
from cachetools import LRUCache

from moderation_service.contracts.engine_input import Language
from moderation_service.contracts.enums import Mode
from moderation_service.contracts.verdict import Model, PolicyVerdict, ShadowModelVerdict
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.evidence import Evidence
from moderation_service.judging.policy_scorer import PolicyScorer
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import JudgingSettings
from moderation_service.telemetry import metrics

FAILURES = 3
"""Posts in a row that were failed or late, after which the model is left alone."""
PAUSE_S = 30.0
_PACKS = 8  # by language, whose scorers are kept

log = structlog.get_logger(__name__)
Answer = Callable[[], Awaitable[ShadowModelVerdict | None]]


def model_flips(shadow: Mapping[str, bool], enforced: Mapping[str, bool]) -> list[str]:
    """The ids of the policies that one of the two models finds violated and the other not, by what each said of them.

    Outcomes are not compared: without a calibration of its own a model blocks at other scores.
    """
    return [policy_id for policy_id, violated in shadow.items() if violated != enforced.get(policy_id, False)]


def count_model_flips(shadow: ShadowModelVerdict | None, enforced: Iterable[PolicyVerdict]) -> None:
    """Add the flips of a verdict to `moderation_shadow_model_flips_total`."""
    if shadow:
        said = ({policy.policy_id: policy.violated for policy in each} for each in (shadow.policies, enforced))
        for policy_id in model_flips(*said):
            metrics.SHADOW_MODEL_FLIPS.labels(policy_id).inc()


class ShadowModel:
    """Asks the second model. Its engine may come up late, or never: until `use` no post is asked."""

    def __init__(
        self, settings: JudgingSettings, calibration: Calibration, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._share, self._wait_s = settings.shadow_share, settings.shadow_wait_s
        self._judging = settings.model_copy(update={"attribution": "never", "block_uncalibrated": True})
        self.calibration = calibration
        self._clock = clock
        self._engine: tuple[Batcher, Model] | None = None
        self._scorers: LRUCache[tuple[str, Language], PolicyScorer] = LRUCache(_PACKS)
        self._failures, self._paused_until = 0, 0.0

    def use(self, batcher: Batcher, model: Model) -> None:
        """From the next post on, ask this engine."""
        self._engine = batcher, model

    @asynccontextmanager
    async def asking(
        self, pack: PolicyPack, language: Language, evidence: Evidence, surface: str | None, key: str
    ) -> AsyncIterator[Answer]:
        """Ask during the block, if the post is drawn by its content's `key`.

        What is given waits no longer than `judging.shadow_wait_s`; it gives None without an answer, and raises nothing.
        """
        if int(key[8:16], 16) >= self._share * 2**32:  # other digits than those of the attribution's sample
            yield no_answer
        elif self._engine is None or self._clock() < self._paused_until:
            metrics.SHADOW_MODEL_POSTS.labels("unasked").inc()
            yield no_answer
        else:
            batcher, model = self._engine
            asked = asyncio.create_task(_judge(self._scorer(batcher, pack, language), evidence, surface))
            try:
                yield partial(self._answer, asked, model)
            finally:
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)

    async def _answer(
        self, asked: "asyncio.Task[tuple[PolicyVerdict, ...]]", model: Model
    ) -> ShadowModelVerdict | None:
        await asyncio.wait({asked}, timeout=self._wait_s)
        if not asked.done():
            self._count("late")
        elif error := asked.exception():
            self._count("failed")
            log.error("the shadow model did not judge", error=type(error).__name__)  # its words may quote the post
        else:
            self._count("judged")
            return ShadowModelVerdict(model=model, policies=asked.result())
        return None

    def _count(self, outcome: str) -> None:
        metrics.SHADOW_MODEL_POSTS.labels(outcome).inc()
        self._failures = 0 if outcome == "judged" else self._failures + 1
        if self._failures >= FAILURES:
            self._failures, self._paused_until = 0, self._clock() + PAUSE_S
            log.warning("the shadow model fails or is late; it is not asked for a while", pause_s=PAUSE_S)

    def _scorer(self, batcher: Batcher, pack: PolicyPack, language: Language) -> PolicyScorer:
        scorer = self._scorers.get((pack.digest, language))
        if scorer is None:
            questionnaire = pack.questionnaire(language, Mode.ENFORCE)
            scorer = PolicyScorer(pack.enforced, questionnaire, batcher, self.calibration, self._judging)
            self._scorers[pack.digest, language] = scorer
        return scorer


async def _judge(scorer: PolicyScorer, evidence: Evidence, surface: str | None) -> tuple[PolicyVerdict, ...]:
    policies, _ = await scorer.attribute(evidence, await scorer.score(evidence, surface), sampled=False)
    return policies


async def no_answer() -> None:
    """Of a post that is not asked."""
