"""Shadow models by the settings: an adapter on the bundled model, a server that comes up late, and what is wrong."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from moderation_service.app.compose import open_judge
from moderation_service.app.shadow_model import running, shadow_model_of
from moderation_service.bench.local_kafka import free_port
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Misconfigured
from moderation_service.judging.judge import Judge
from moderation_service.policies.pack import load_pack
from moderation_service.settings import BareSettings, EngineSettings, JudgingSettings, Settings, shipped_policies
from tests.engine.local.random_adapter import random_adapter
from tests.engine.openai_server import SHORT_BACKOFF, ScriptedServer, serving
from tests.stream.support import eventually

POST = Post(post_id="p", text="Meet me behind the school")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_adapter(tmp_path_factory.mktemp("adapters") / "one")


def settings(**engine: object) -> Settings:
    judging = JudgingSettings(shadow_share=1.0, shadow_wait_s=30.0, result_cache_size=0)
    return BareSettings(engine=EngineSettings.model_validate({"device": "cpu", **engine}), judging=judging)


@asynccontextmanager
async def judging(chosen: Settings) -> AsyncIterator[Judge]:
    """As the worker has it."""
    shadow = shadow_model_of(chosen)
    pack = load_pack(shipped_policies(), images=False)
    async with open_judge(chosen, pack, shadow_model=shadow) as judge, running(chosen, shadow, SHORT_BACKOFF):
        yield judge


async def verdict_by(judge: Judge) -> Verdict:
    return (await judge.judge(POST, trace_id="0" * 32)).verdict


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT asks for it
async def test_an_adapter_in_shadow_is_a_model_of_its_own_beside_the_one_in_force(adapter: Path) -> None:
    with capture_logs() as logged:
        async with judging(settings(shadow_adapter=adapter)) as judge:
            await eventually(lambda: "shadow model loaded" in [line["event"] for line in logged], "the shadow model")
            verdict = await verdict_by(judge)
    assert verdict.shadow_model
    assert verdict.shadow_model.model.name == verdict.model.name
    assert verdict.shadow_model.model.revision != verdict.model.revision
    scores = zip(verdict.policies, verdict.shadow_model.policies, strict=True)
    assert any(abs(one.raw_score - other.raw_score) > 1e-3 for one, other in scores)


async def test_a_server_that_comes_up_late_is_asked_from_then_on() -> None:
    port = free_port()
    chosen = settings(shadow_base_url=f"http://127.0.0.1:{port}/v1", shadow_model="judge", shadow_revision="r2")
    with capture_logs() as logged:
        async with judging(chosen) as judge:
            await eventually(lambda: "the shadow model's server is away" in [line["event"] for line in logged], "a try")
            assert (await verdict_by(judge)).shadow_model is None
            async with serving(ScriptedServer(), port):
                await eventually(lambda: "shadow model loaded" in [line["event"] for line in logged], "the server")
                found = (await verdict_by(judge)).shadow_model
            assert found
            assert (found.model.engine, found.model.name, found.model.revision) == ("openai", "judge", "r2")


async def test_an_adapter_that_is_none_is_logged_and_posts_are_judged_without_it(tmp_path: Path) -> None:
    with capture_logs() as logged:
        async with judging(settings(shadow_adapter=tmp_path)) as judge:
            await eventually(lambda: any(line["event"].startswith("no shadow model") for line in logged), "the refusal")
            assert (await verdict_by(judge)).shadow_model is None
    (error,) = (line["error"] for line in logged if line["event"].startswith("no shadow model"))
    assert str(tmp_path) in error


def test_a_calibration_of_the_shadow_model_that_is_not_there_is_refused_at_the_start(tmp_path: Path) -> None:
    chosen = settings(shadow_base_url="http://127.0.0.1:1/v1")
    lacking = chosen.judging.model_copy(update={"shadow_calibration": tmp_path / "no.json"})
    with pytest.raises(Misconfigured, match=r"judging\.shadow_calibration .*no\.json: No such file"):
        shadow_model_of(chosen.model_copy(update={"judging": lacking}))


async def test_a_server_in_shadow_gets_no_post_where_a_policy_has_a_route(tmp_path: Path) -> None:
    text = (shipped_policies() / "minor_contact.yaml").read_text(encoding="utf-8").partition("\ncases:")[0]
    (tmp_path / "minor_contact.yaml").write_text(f"{text}\nroute: child_safety\n", encoding="utf-8")
    with pytest.raises(Misconfigured, match=r"engine\.shadow_base_url: is set, and minor_contact has a route"):
        async with open_judge(settings(shadow_base_url="http://127.0.0.1:1/v1"), load_pack(tmp_path, images=False)):
            pass


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ({"shadow_adapter": "a", "shadow_base_url": "http://h/v1"}, "shadow_adapter is for kind local"),
        ({"kind": "openai", "base_url": "http://h/v1", "shadow_adapter": "a"}, "shadow_adapter is for kind local"),
        ({"shadow_base_url": "h:80"}, "shadow_base_url should be the address of a server"),
        ({"shadow_base_url": "http://key@h/v1"}, "shadow_base_url should be the address of a server"),
        ({"shadow_model": "judge"}, "need shadow_base_url"),
    ],
)
def test_settings_of_a_shadow_model_that_do_not_go_together_are_refused(engine: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        EngineSettings.model_validate(engine)


def test_a_shadow_server_is_asked_as_the_model_in_force_but_by_its_own_name_and_key() -> None:
    engine = EngineSettings.model_validate(
        {"layout": "policies_first", "revision": "r1", "shadow_base_url": "http://h/v1", "shadow_api_key": "s"}
    )
    chosen = engine.for_shadow()
    assert chosen
    assert (chosen.kind, chosen.base_url, chosen.model) == ("openai", "http://h/v1", engine.model)
    assert (chosen.layout, chosen.revision) == ("policies_first", None)
    assert chosen.api_key == engine.shadow_api_key
    assert EngineSettings().for_shadow() is None
