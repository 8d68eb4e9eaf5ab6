"""A deterministic engine for tests of what stands round one: it answers by rules a reader can follow."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from moderation_service.contracts.engine_input import Questionnaire
from moderation_service.engine.base import (
    EngineInfo,
    ExplainRequest,
    GeneratedText,
    LabelScore,
    ScoreRequest,
    ScoreResult,
)
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.judge import Judge
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.pack import load_pack
from moderation_service.settings import AuditSettings, JudgingSettings, Settings, shipped_policies

INFO = EngineInfo(
    name="rules",
    revision="1",
    dtype="float32",
    quantization=None,
    engine="local",
    layout="post_first",
    prompt_digest="p",
    context_tokens=4096,
)

Rule = Callable[[str, ScoreRequest], float]


def combined(policy_id: str, request: ScoreRequest) -> float:
    """weapon_sale: only `sell` with an image. violence: `kill` alone. weapon_display: an image, but in a museum."""
    text, image = request.text, bool(request.images)
    match policy_id:
        case "weapon_sale":
            return 0.95 if "sell" in text and image else 0.1
        case "violence":
            return 0.7 if "kill" in text else 0.05
        case "weapon_display":
            return 0.8 if image and "museum" not in text else 0.02
        case _:
            return 0.01


class RuleEngine:
    """Keeps the requests it was asked, so that a test can count them."""

    info = INFO

    def __init__(self, rule: Rule = combined, mass: float | Callable[[ScoreRequest], float] = 1.0) -> None:
        self.rule = rule
        self.mass = mass
        self.room = 1000
        self.most_pixels = 10**9  # read of an image
        self.calls: list[list[ScoreRequest]] = []
        self.words = "The picture shows a weapon. The words offer it to a buyer."
        self.explained: list[list[ExplainRequest]] = []

    @property
    def requests(self) -> list[ScoreRequest]:
        return [request for call in self.calls for request in call]

    async def start(self) -> None:
        pass

    async def prepare(self, questionnaire: Questionnaire) -> None:
        pass

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        self.calls.append(list(requests))
        return [self._answer(request) for request in requests]

    async def explain(self, requests: Sequence[ExplainRequest]) -> list[GeneratedText]:
        self.explained.append(list(requests))
        return [GeneratedText(self.words, "itself", tokens=20, generated_tokens=12) for _ in requests]

    async def close(self) -> None:
        pass

    def _answer(self, request: ScoreRequest) -> ScoreResult:
        asked = [request.questionnaire.questions[index].policy_id for index in request.asked]
        mass = self.mass(request) if callable(self.mass) else self.mass
        labels = tuple(LabelScore(self.rule(policy_id, request), mass) for policy_id in asked)
        read = ScoreResult.unasked(request.images[: self.room])
        pixels = tuple(min(each, self.most_pixels) for each in read.pixels_read)
        return replace(read, pixels_read=pixels, labels=labels, tokens=10, truncated=len(request.text) > 1000)


@asynccontextmanager
async def judge_by(
    engine: RuleEngine, judging: JudgingSettings, audit: AuditSettings | None = None
) -> AsyncIterator[Judge]:
    """A judge by the shipped policies, for tests that can't have a fixture."""
    judging = judging.model_copy(update={"block_uncalibrated": True})
    chosen = Settings(judging=judging, audit=audit or AuditSettings())
    async with ImageLoader(chosen.media) as loader, Batcher(engine) as batcher:
        yield Judge(
            settings=chosen,
            pack=load_pack(shipped_policies(), images=False),
            calibration=Calibration.load(None),
            loader=loader,
            engine=engine,
            batcher=batcher,
            shadow_batcher=batcher,
        )
