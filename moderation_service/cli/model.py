"""`moderation model check`: ask and measure the configured model."""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from cyclopts import App, Parameter, validators
from PIL import Image

from moderation_service.app.compose import UNCALIBRATED, check_packs, engine_class, start_engine
from moderation_service.cli.common import PROBLEMS, SettingsFile, load, show
from moderation_service.cli.model_tables import as_dict, memory_table, shown, sized
from moderation_service.contracts.engine_input import Pixels
from moderation_service.contracts.enums import Mode
from moderation_service.engine.model_report import CheckInput, ModelReport
from moderation_service.media.frame_selection import select_frames
from moderation_service.policies.pack import load_pack
from moderation_service.settings import MediaSettings, Settings

_SIDES = (336, 448, 640, 1024, 2048)
_LONG = ((4096, 512), (512, 4096))

model = App(name="model", help="The model that judges.")


@model.command(name="check")
def check(
    *,
    shape: Annotated[str | None, Parameter(help="Memory only, of this name or config.json's folder.")] = None,
    card_gb: Annotated[float, Parameter(validator=validators.Number(gt=0), help="Of the card, with --shape.")] = 24.0,
    as_json: Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")] = False,
    settings: SettingsFile = None,
) -> int:
    """Ask the configured model simple questions and measure it; one line a finding, with the setting to change.

    Prints what it answers, which label words count, how much of an image it reads, tokens of a post, memory by part
    and the latency of one post. With `--shape GLM-4.6V-Flash`, or a folder with a config.json, only the memory of that
    model on a card of `--card-gb`; no weights are needed. Exits 1 where the model does not answer or does not fit.

    Example: `MODERATION_ENGINE__QUANTIZATION=int8 moderation model check --shape GLM-4.6V-Flash --card-gb 16`
    """
    loaded = load(settings)
    if shape:
        from moderation_service.engine.local.model_check import check_shape  # noqa: PLC0415 - torch takes seconds

        memory = check_shape(loaded.engine, shape, card_gb)
        if as_json:
            print(json.dumps(sized(memory), indent=1))
        else:
            show(memory_table(memory), *([memory.advice] if memory.advice else []))
        return PROBLEMS if memory.advice else 0
    print(f"loading {loaded.engine.model}, then asking it questions", file=sys.stderr)
    report, checked = asyncio.run(check_model(loaded))
    findings = report.findings(checked)
    if as_json:
        print(json.dumps(as_dict(report, findings), ensure_ascii=False, indent=1))
    else:
        show(*shown(report, checked, findings))
    return PROBLEMS if any(finding.level == "error" for finding in findings) else 0


@dataclass
class _Still:
    """An image of one frame, as a decoder gives it."""

    image: Image.Image
    frames: int = 1

    def read(self, _: Sequence[int]) -> Iterator[Image.Image]:
        yield self.image


async def check_model(settings: Settings) -> tuple[ModelReport, CheckInput]:
    """Load the model, ask it questions and measure it. Raises Misconfigured and Fatal as a start does."""
    checked = check_input(settings)
    engine = (await asyncio.to_thread(engine_class, settings))(settings.engine)
    await start_engine(engine)
    try:
        return await engine.check(checked), checked
    finally:
        await engine.close()


def check_input(settings: Settings) -> CheckInput:
    """The enforced policies, and grey images as decoding gives them: shrunk, and tiled if long."""
    pack = load_pack(settings.policies.path, images=False)
    check_packs(settings, (pack,), None, UNCALIBRATED)
    languages = dict.fromkeys([pack.language_for(None), *pack.languages])
    media = settings.media
    sizes = [*((side, side) for side in _SIDES), *_LONG, (media.max_side, media.max_side)]
    return CheckInput(
        questionnaires={language: pack.questionnaire(language, Mode.ENFORCE) for language in languages},
        images={size: _decoded(size, media) for size in dict.fromkeys(sizes)},
        max_images=media.max_images,
        usual=(media.max_side, media.max_side),
    )


def _decoded(size: tuple[int, int], media: MediaSettings) -> tuple[Pixels, ...]:
    return select_frames(_Still(Image.new("RGB", size, (127, 127, 127))), media).frames
