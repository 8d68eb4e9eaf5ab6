"""`moderation model check`: what the configured model answers, reads and needs, and what to set."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from moderation_service.cli.model_tables import shown
from moderation_service.engine.local import engine as local
from moderation_service.engine.model_report import CheckInput, LabelWord, Memory, ModelReport
from moderation_service.errors import Misconfigured
from moderation_service.settings import DEMO_MODEL, BareSettings, EngineSettings
from tests.engine.local.checkpoint_server import CheckpointServer, MediaCache
from tests.engine.local.test_answer_prefix import TOKEN, boxing
from tests.engine.openai_server import serving

Run = Callable[..., tuple[int, str]]
command = import_module("moderation_service.cli.model")  # the package's `model` is the group of commands


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command with these engine settings: its exit code and what it prints."""

    def run(engine: dict[str, Any], **options: Any) -> tuple[int, str]:
        settings = BareSettings(engine=EngineSettings(**engine))
        monkeypatch.setattr(command, "load", lambda _: settings)
        code = command.check(**options)
        return code, capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def found() -> tuple[ModelReport, CheckInput]:
    return asyncio.run(command.check_model(BareSettings(engine=EngineSettings(device="cpu"))))


def test_the_bundled_model_passes_and_its_report_says_what_it_reads(run: Run) -> None:
    code, said = run({"device": "cpu"}, as_json=True)
    report = json.loads(said)
    assert code == 0
    assert {finding["level"] for finding in report["findings"]} == {"note"}
    assert [answer["expected"] for answer in report["answers"]] == ["yes", "yes", "no", "no"] * 2
    assert all((answer["score"] > 0.5) == (answer["expected"] == "yes") for answer in report["answers"])
    assert all(label["counts"] for label in report["labels"])
    assert {(image["width"], image["height"]): image["pixels"] for image in report["images"]}[1024, 1024] == 112**2
    assert [post["layout"] for post in report["posts"]] == ["post_first"] * 2 + ["policies_first"] * 2
    assert report["memory"]["needed"] == sum(report["memory"]["parts"].values())
    assert report["latency_ms"] > 0


def test_a_model_that_says_something_first_is_named_with_the_setting(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    load = local.load_checkpoint
    monkeypatch.setattr(local, "load_checkpoint", lambda settings: boxing(load(settings)))
    code, said = run({"device": "cpu", "answer_prefix": ""})
    assert code == 1
    assert f"error: the model says '{TOKEN}' before its label words: set engine.answer_prefix to auto" in said
    code, said = run({"device": "cpu"})
    assert code == 0
    assert f"answer prefix: '{TOKEN}'" in said


@pytest.mark.parametrize(
    ("engine", "card_gb", "code", "says"),
    [
        ({}, 24.0, 1, "lower engine.max_batch_tokens from 16384"),
        ({"max_batch_tokens": 4096, "max_context_tokens": 4096}, 24.0, 0, "6,912 tokens"),
        ({"quantization": "int8", "max_batch_tokens": 4096, "max_context_tokens": 4096}, 16.0, 0, "9,472 tokens"),
        ({"quantization": "int8"}, 12.0, 1, "choose a smaller engine.model"),
    ],
)
def test_the_memory_of_the_9b_is_told_without_its_weights(
    run: Run, engine: dict[str, Any], card_gb: float, code: int, says: str
) -> None:
    found, said = run(engine, shape="GLM-4.6V-Flash", card_gb=card_gb)
    assert found == code
    assert says in said


def test_a_shape_is_a_folder_with_a_configuration_or_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((DEMO_MODEL / "config.json").read_bytes())
    code, said = run({}, shape=str(tmp_path), as_json=True)
    assert code == 0
    assert json.loads(said)["parts"]["weights"] < 10**7  # bfloat16, as on a card
    with pytest.raises(Misconfigured, match=r"--shape nowhere: should be GLM-4\.6V-Flash, or a folder"):
        run({}, shape="nowhere")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
async def test_a_model_on_a_server_is_asked_the_same_and_its_images_measured_by_the_servers_count(
    found: tuple[ModelReport, CheckInput],
) -> None:
    ours, checked = found
    server = CheckpointServer(DEMO_MODEL, name=DEMO_MODEL.name)
    server.media = MediaCache()
    async with serving(server) as url:
        engine = EngineSettings(kind="openai", base_url=url, model=DEMO_MODEL.name, revision="r1")
        theirs, _ = await command.check_model(BareSettings(engine=engine))
    for one, other in zip(theirs.answers, ours.answers, strict=True):
        assert (one.expected, one.score) == (other.expected, pytest.approx(other.score, abs=1e-4))
    assert [image.tokens for image in theirs.images[:5]] == [image.tokens for image in ours.images[:5]]
    for one, other in zip(theirs.posts, ours.posts[:2], strict=True):
        assert (one.layout, one.language, one.image) == (other.layout, other.language, other.image + 2)
        assert one.text == pytest.approx(other.text, abs=4)
    assert {label.counts for label in theirs.labels} <= {True, None}
    assert theirs.memory is None
    lines = [*map(str, shown(theirs, checked, []))]
    assert "a post's images are sent once, then by UUID" in lines
    assert [finding.level for finding in theirs.findings(checked)] == ["note"]


def wrong(report: ModelReport) -> Iterator[tuple[ModelReport, str, str]]:
    """Reports of what may be wrong, with the level of the finding and what it says."""
    unheard = tuple(replace(answer, mass=0.1) for answer in report.answers)
    yield replace(report, answers=unheard), "error", "engine.labels should be the words that it answers with"
    swapped = tuple(replace(answer, score=1 - answer.score) for answer in report.answers)
    yield replace(report, answers=swapped), "error", "the word that means 'violates' should be the first"
    one = (replace(report.answers[0], score=0.1), *report.answers[1:])
    yield replace(report, answers=one), "warning", "1 of 8 simple questions are answered wrongly: en (expected yes"
    split = (LabelWord("unsafe", "yes", counts=False, why="2 tokens"),)
    yield replace(report, labels=split), "note", "engine.labels: unsafe is more than one token"
    memory = Memory("a card", {"weights": 2 * 10**9}, 10**9, 0, advice="set engine.quantization to int8")
    yield replace(report, memory=memory), "warning", "2.0 GB, and 1.0 GB are there: set engine.quantization to int8"
    yield replace(report, full_images=2), "note", "Raise engine.max_context_tokens"
    costly = tuple(
        replace(post, questions=post.questions * (9 if "post" in post.layout else 1)) for post in report.posts
    )
    yield replace(report, posts=costly), "note", "with engine.layout = policies_first it would cost"


def test_each_thing_that_is_wrong_is_a_line_with_what_to_set(found: tuple[ModelReport, CheckInput]) -> None:
    report, checked = found
    usual = report.findings(checked)
    for changed, level, says in wrong(report):
        (line,) = (finding for finding in changed.findings(checked) if finding not in usual)
        assert line.level == level
        assert says in line.text
