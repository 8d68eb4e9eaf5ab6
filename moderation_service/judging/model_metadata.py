"""The model as a verdict records it."""

import hashlib
import json
from dataclasses import asdict

from moderation_service.contracts.verdict import Model
from moderation_service.engine.base import EngineInfo
from moderation_service.judging.injection import SHAPE
from moderation_service.settings import Settings


def recorded_model(engine: EngineInfo, settings: Settings, calibration_id: str | None) -> Model:
    """What answered; its prompt digest covers too what bounds a post in a prompt, and what is an order to the model."""
    media = settings.media
    bounds = [engine.context_tokens, media.max_images, media.max_frames, media.max_side]
    digest = hashlib.sha256(json.dumps([engine.prompt_digest, bounds, SHAPE]).encode()).hexdigest()
    known = {name: value for name, value in asdict(engine).items() if name in Model.model_fields}
    made = Model(**known, calibration_id=calibration_id)
    return made.model_copy(update={"prompt_digest": f"sha256:{digest}"})
