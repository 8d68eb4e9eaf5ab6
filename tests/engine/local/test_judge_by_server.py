"""A judge on a server's model: the bundled one, behind chat completions."""

import base64
from io import BytesIO

import pytest
from PIL import Image

from moderation_service.app.compose import open_judge
from moderation_service.contracts.post import ImageRef, Post
from moderation_service.contracts.verdict import Content, Verdict
from moderation_service.errors import Misconfigured
from moderation_service.policies.pack import load_pack
from moderation_service.settings import DEMO_MODEL, BareSettings, EngineSettings, JudgingSettings, shipped_policies
from tests.engine.local.checkpoint_server import CheckpointServer
from tests.engine.local.demo_views import views
from tests.engine.openai_server import serving

# The family's processor, which the engine does without, hands numpy a tensor.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def a_post() -> Post:
    shown = next(view for view in views(30) if view.text and view.images)
    png = BytesIO()
    Image.fromarray(shown.images[0]).save(png, "PNG")
    image = ImageRef(data=base64.b64encode(png.getvalue()).decode(), media_type="image/png")
    return Post(post_id="p-1", text=shown.text, images=(image,))


async def verdict_of(engine: EngineSettings) -> Verdict:
    judging = JudgingSettings(attribution="always", explain="template", calibration="none")
    async with open_judge(BareSettings(engine=engine, judging=judging), load_pack(shipped_policies())) as judge:
        return (await judge.judge(a_post(), trace_id="0" * 32)).verdict


def but_pixels(verdict: Verdict) -> Content:
    """What was judged; how many pixels a server reads of an image is not known, only how many it was sent."""
    images = (image.model_copy(update={"pixels_read": None}) for image in verdict.content.images)
    return verdict.content.model_copy(update={"images": tuple(images)})


async def test_a_verdict_by_a_servers_model_differs_from_the_local_one_in_what_it_says_of_the_engine() -> None:
    local = await verdict_of(EngineSettings(device="cpu"))
    async with serving(CheckpointServer(DEMO_MODEL)) as url:
        remote = await verdict_of(
            EngineSettings(kind="openai", base_url=url, model="judge", revision="r1", prompt="brief")
        )
    assert (remote.model.engine, remote.model.name, remote.model.revision) == ("openai", "judge", "r1")
    assert remote.model.prompt_digest != local.model.prompt_digest
    assert remote.verdict_id != local.verdict_id
    assert (remote.decision, but_pixels(remote)) == (local.decision, but_pixels(local))
    for theirs, ours in zip(remote.policies, local.policies, strict=True):
        assert theirs.score == pytest.approx(ours.score, abs=1e-4)
        assert theirs.attribution
        assert ours.attribution
        assert theirs.attribution.text_only == pytest.approx(ours.attribution.text_only, abs=1e-4)
        assert theirs.attribution.image_only == pytest.approx(ours.attribution.image_only, abs=1e-4)


async def test_a_server_without_the_model_is_refused_at_the_start() -> None:
    async with serving(CheckpointServer(DEMO_MODEL)) as url:
        with pytest.raises(Misconfigured, match="it has judge"):
            await verdict_of(EngineSettings(kind="openai", base_url=url, model="another", revision="r1"))
