"""`moderation model check`: the model, asked and measured with the policies and image settings that are configured."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from moderation_service.app import calibrations
from moderation_service.app.compose import check_packs, engine_class
from moderation_service.app.loading import load
from moderation_service.contracts.engine_input import Pixels
from moderation_service.engine.model_report import SAMPLES, CheckInput, Memory, ModelReport
from moderation_service.media.frame_selection import select_frames
from moderation_service.policies.pack import load_pack
from moderation_service.settings import MediaSettings, Settings

SIDES = (336, 448, 640, 1024, 2048)
LONG = ((4096, 512), (512, 4096))


@dataclass
class _Still:
    """An image of one frame, as a decoder gives it."""

    image: Image.Image
    frames: int = 1

    def read(self, _: Sequence[int]) -> Iterator[Image.Image]:
        yield self.image


async def check_model(settings: Settings) -> tuple[ModelReport, CheckInput]:
    """Load the model, ask it and measure. Raises Misconfigured and Fatal as a start does."""
    checked = check_input(settings)
    engine = (await asyncio.to_thread(engine_class, settings))(settings.engine)
    await load(engine)
    try:
        return await engine.check(checked), checked
    finally:
        await engine.close()


def check_input(settings: Settings) -> CheckInput:
    """The policies that enforce, and images of grey as they come out of decoding: shrunk, and tiled where long."""
    pack = load_pack(settings.policies.path, images=False)
    check_packs(settings, (pack,), None, calibrations.NONE)
    media = settings.media
    sizes = [*((side, side) for side in SIDES), *LONG, (media.max_side, media.max_side)]
    return CheckInput(
        questionnaires={language: pack.questionnaire(language, "enforce") for language in SAMPLES},
        images={size: _shown(size, media) for size in dict.fromkeys(sizes)},
        max_images=media.max_images,
        usual=(media.max_side, media.max_side),
    )


def check_shape(settings: Settings, shape: str, card_gb: float) -> Memory:
    """The memory of a model by its configuration alone. Raises Misconfigured."""
    from moderation_service.engine.local.model_check import check_shape as check  # noqa: PLC0415 - torch takes seconds

    return check(settings.engine, shape, card_gb)


def _shown(size: tuple[int, int], media: MediaSettings) -> tuple[Pixels, ...]:
    return select_frames(_Still(Image.new("RGB", size, (127, 127, 127))), media).frames
