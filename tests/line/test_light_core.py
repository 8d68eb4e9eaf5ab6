"""The plain package, without the libraries of its extras, as processes that can't import them."""

import re
import tomllib
from pathlib import Path

import pytest

from moderation_service.kafka.topic_consumer import TopicConsumer
from moderation_service.kafka.topic_io import Record, publish
from moderation_service.kafka.topics import create
from tests.engine.openai_server import ScriptedServer, serving
from tests.line.service import environment, kafka_settings, moderation, worker

ROOT = Path(__file__).parents[2]
MODULES = {"opencv-python-headless": "cv2", "scikit-learn": "sklearn", "opentelemetry-api": "opentelemetry"}
HIDE = """
import importlib.abc, sys

class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture
def plain(tmp_path: Path) -> dict[str, str]:
    """An environment in which Python finds no library of an extra."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {re.split(r"[<>=\[]", library)[0] for libraries in extras.values() for library in libraries}
    hidden = {MODULES.get(name, name.replace("-", "_")) for name in names}
    assert {"torch", "transformers", "cv2"} <= hidden
    (tmp_path / "sitecustomize.py").write_text(HIDE.format(hidden=sorted(hidden)))
    return environment(PYTHONPATH=f"{tmp_path}:{ROOT}")


async def test_the_worker_judges_by_a_server(plain: dict[str, str], kafka: str) -> None:
    settings = kafka_settings(kafka)
    await create(settings)
    async with serving(ScriptedServer()) as url:
        engine = {"KIND": "openai", "BASE_URL": url, "MODEL": "judge", "REVISION": "r1"}
        named = {f"MODERATION_ENGINE__{name}": value for name, value in engine.items()}
        env = {**environment(settings, **named), "PYTHONPATH": plain["PYTHONPATH"]}
        async with worker(env) as service:
            await publish(settings, [Record(settings.input_topic, b"p-1", b'{"post_id": "p-1", "text": "hello"}')])
            async with TopicConsumer.open(settings, (settings.output_topic,)) as verdicts:
                (verdict,) = await verdicts.take(1, 60.0)
            assert verdict.key == b"p-1"
            assert await service.stop() == 0


async def test_the_console_prepares_its_database(plain: dict[str, str], tmp_path: Path) -> None:
    database = {"MODERATION_CONSOLE__DATABASE_URL": f"sqlite:///{tmp_path}/console.db"}
    assert (await moderation("console", "--migrate", env={**plain, **database}))[0] == 0
    assert (await moderation("users", "list", env={**plain, **database}))[:2] == (0, "")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("demo",), "confluent_kafka is missing; pip install 'moderation-service[local]'"),
        (("bench", "engine"), "torch is missing; pip install 'moderation-service[local]'"),
        (("judge", str(ROOT / "tests/line/posts.jsonl")), "or set engine.kind to openai"),
        (("evaluate", "bundled"), "is missing; pip install 'moderation-service[evaluation]'"),
    ],
)
async def test_what_needs_an_extra_names_it(command: tuple[str, ...], says: str, plain: dict[str, str]) -> None:
    code, out, err = await moderation(*command, env=plain)
    assert (code, out) == (2, "")
    assert says in err.splitlines()[-1], err
    assert "Traceback" not in err


async def test_every_commands_help_is_there(plain: dict[str, str]) -> None:
    code, out, _ = await moderation("--help", env=plain)
    assert (code, "evaluate" in out, "Publish sample posts" in out) == (0, True, True)
