import base64
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from PIL import Image

from moderation_service.banks.matcher import BankMatcher
from moderation_service.contracts.post import ImageRef, Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.hma import HmaClient
from moderation_service.judging.judge import Judge
from moderation_service.judging.shadow_model import ShadowModel
from moderation_service.media.image_text import ImageTextReader
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.pack import PolicyPack, load_pack
from moderation_service.settings import AuditSettings, JudgingSettings, MediaSettings, Settings, shipped_policies
from tests.judging.engines import RuleEngine


def make_image(colour: str = "red", *, strip: str | None = None) -> ImageRef:
    """A small image carried in the post; with a strip of another colour from row 24 on."""
    image, out = Image.new("RGB", (32, 32), colour), io.BytesIO()
    if strip:
        image.paste(strip, (0, 24, 32, 32))
    image.save(out, "PNG")
    return ImageRef(data=base64.b64encode(out.getvalue()).decode(), media_type="image/png")


@pytest.fixture(scope="session")
def pack() -> PolicyPack:
    return load_pack(shipped_policies())


@pytest.fixture
def engine() -> RuleEngine:
    return RuleEngine()


MakeJudge = Callable[..., Awaitable[Judge]]


@pytest.fixture
async def make_judge(pack: PolicyPack, engine: RuleEngine) -> AsyncIterator[MakeJudge]:
    async with AsyncExitStack() as stack:

        async def make(
            policy_pack: PolicyPack = pack,
            media: MediaSettings | None = None,
            calibration: Calibration | None = None,
            shadow_pack: PolicyPack | None = None,
            shadow_model: ShadowModel | None = None,
            banks: BankMatcher | None = None,
            hma: HmaClient | None = None,
            text_reader: ImageTextReader | None = None,
            audit: AuditSettings | None = None,
            **settings: Any,
        ) -> Judge:
            chosen = Settings(
                media=media or MediaSettings(),
                audit=audit or AuditSettings(),
                judging=JudgingSettings(**{"attribution_sample": 0.0, "block_uncalibrated": True, **settings}),
            )
            loader = await stack.enter_async_context(ImageLoader(chosen.media))
            batcher, apart = [await stack.enter_async_context(Batcher(engine)) for _ in range(2)]
            return Judge(
                settings=chosen,
                pack=policy_pack,
                calibration=calibration or Calibration.load(None),
                loader=loader,
                engine=engine,
                batcher=batcher,
                shadow_batcher=apart,
                shadow_pack=shadow_pack,
                shadow_model=shadow_model,
                banks=banks,
                hma=hma,
                text_reader=text_reader,
            )

        yield make


Ask = Callable[..., Awaitable[Verdict]]


@pytest.fixture
def ask() -> Ask:
    async def judge_post(judge: Judge, text: str = "", *images: ImageRef, **fields: Any) -> Verdict:
        post = Post(post_id="p-1", text=text, images=images, **fields)
        return (await judge.judge(post, trace_id="a" * 32)).verdict

    return judge_post
