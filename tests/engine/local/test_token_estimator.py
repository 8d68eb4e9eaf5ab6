from dataclasses import replace

import numpy as np
import pytest

from moderation_service.contracts.enums import Mode
from moderation_service.engine.base import ExplainRequest, ScoreRequest
from moderation_service.engine.local.checkpoint import load_checkpoint
from moderation_service.engine.local.scorer import Scorer
from moderation_service.judging.batcher import TokenEstimator
from moderation_service.policies.pack import load_pack
from moderation_service.settings import EngineSettings, LayoutName, shipped_policies
from tests.judging.engines import INFO

TEXTS = ("Lightly used, DM me for the price. " * 20, "九成新，私信我问价。" * 20)


@pytest.mark.parametrize("layout", ["post_first", "policies_first"])
def test_a_view_is_about_as_large_as_it_is_told_to_be(layout: LayoutName) -> None:
    settings = EngineSettings(device="cpu", layout=layout)
    scorer = Scorer(load_checkpoint(settings), layout, "brief", max_context_tokens=4096, max_batch_tokens=16384)
    sizes, pack = (
        TokenEstimator(settings, replace(INFO, image_pixels=scorer.preprocessor.max_pixels)),
        load_pack(shipped_policies(), images=False),
    )
    image = np.full((100, 100, 3), 127, np.uint8)
    for text, language in zip(TEXTS, ("en", "zh"), strict=True):
        questionnaire = pack.questionnaire(language, Mode.ENFORCE)  # type: ignore[arg-type]
        request = ScoreRequest(text, (image,) * 4, questionnaire, tuple(range(len(questionnaire.questions))))
        prefix = scorer.prefix(questionnaire)
        (scored,) = scorer.score([request])
        assert 0.5 < sizes.scoring(request) / (scored.tokens - len(prefix.ids)) < 2


def test_no_more_is_counted_than_is_read_of_a_post() -> None:
    info = replace(INFO, context_tokens=1000)
    sizes = TokenEstimator(EngineSettings(), replace(info, image_pixels=28 * 28 * 10))
    large = np.zeros((2800, 2800, 3), np.uint8)
    words, image = (ExplainRequest(*of, "en", (), 1.0) for of in (("", ()), ("", (large,))))
    assert sizes.explanation(image) - sizes.explanation(words) == 10
    endless = ExplainRequest("word " * 100_000, (large,) * 10, "en", (), 1.0)
    assert sizes.explanation(endless) - sizes.explanation(words) == 1000
    assert TokenEstimator(EngineSettings(), info).explanation(image) - sizes.explanation(words) == 1000
    assert sizes.explanation(ExplainRequest("\ud800", (), "en", (), 1.0)) == sizes.explanation(words)
