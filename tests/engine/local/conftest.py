from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from moderation_service.contracts.engine_input import Language, Question, Questionnaire
from moderation_service.engine.base import Pixels
from moderation_service.engine.local.checkpoint import Checkpoint, load_checkpoint
from moderation_service.engine.local.scorer import Scorer
from moderation_service.engine.prompts import PromptName
from moderation_service.settings import EngineSettings, LayoutName
from tests.engine.local.tiny import save_checkpoint

MakeScorer = Callable[..., Scorer]


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="session")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(EngineSettings(model=str(tiny_checkpoint), device="cpu", dtype="float32"))


@pytest.fixture(scope="session")
def make_scorer(checkpoint: Checkpoint) -> MakeScorer:
    def make(
        layout: LayoutName = "post_first",
        prompt: PromptName = "brief",
        max_context_tokens: int = 1024,
        max_batch_tokens: int = 16384,
    ) -> Scorer:
        return Scorer(
            checkpoint, layout, prompt, max_context_tokens=max_context_tokens, max_batch_tokens=max_batch_tokens
        )

    return make


@pytest.fixture
def scorer(make_scorer: MakeScorer) -> Scorer:
    return make_scorer()


@pytest.fixture(scope="session")
def questionnaires() -> dict[Language, Questionnaire]:
    return {
        "en": Questionnaire(
            "en",
            (
                Question("weapon_sale", "Does the post offer a weapon for sale?", "The picture shows a weapon."),
                Question("health", "Does the post promise a cure?", "The words promise a cure, for whatever illness."),
                Question("doxxing", "Does it give away where a person lives?", "Somebody's address."),
            ),
        ),
        "zh": Questionnaire(
            "zh",
            (
                Question("weapon_sale", "该帖子是否出售武器？", "图片里有武器，文字在出售。"),
                Question("violence", "该帖子是否威胁他人？", "文字或图片含有威胁。"),
            ),
        ),
    }


@pytest.fixture
def make_image() -> Iterator[Callable[[int, int], Pixels]]:
    numbers = np.random.default_rng(7)

    def make(height: int, width: int) -> Pixels:
        pixels = numbers.integers(0, 256, (height, width, 3), dtype=np.uint8)
        pixels.flags.writeable = False  # as those of a decoder are
        return pixels

    return make
