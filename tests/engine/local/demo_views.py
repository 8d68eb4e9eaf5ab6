"""Requests about posts of the demo, and the local engine's scorer to hold others to."""

from pathlib import Path

import numpy as np

from moderation_service.contracts.enums import Mode
from moderation_service.demo.posts import posts
from moderation_service.engine.base import ScoreRequest
from moderation_service.engine.local.checkpoint import load_checkpoint
from moderation_service.engine.local.scorer import Scorer
from moderation_service.policies.pack import load_pack
from moderation_service.settings import DEMO_MODEL, EngineSettings, LayoutName, shipped_policies


def local(layout: LayoutName = "post_first", model: Path = DEMO_MODEL) -> Scorer:
    """A scorer in float32 on the CPU."""
    checkpoint = load_checkpoint(EngineSettings(model=str(model), device="cpu", dtype="float32"))
    return Scorer(checkpoint, layout, "brief", max_context_tokens=4096, max_batch_tokens=4096)


def views(count: int) -> list[ScoreRequest]:
    """`count` posts, each third with its views, by two of the shipped policies in turn."""
    pack = load_pack(shipped_policies())
    found = []
    for number, post in enumerate(posts(count, 4242)):
        questionnaire = pack.questionnaire(post.draft.language, Mode.ENFORCE)
        asked = tuple(range(number % 4, len(questionnaire.questions), 4))
        text, images = post.draft.text, tuple(np.asarray(image.convert("RGB")) for image in post.images)
        alone = [(text, ()), ("", images)] if text and images and number % 3 == 0 else []
        found += [ScoreRequest(*shown, questionnaire, asked) for shown in ((text, images), *alone)]
    return found
