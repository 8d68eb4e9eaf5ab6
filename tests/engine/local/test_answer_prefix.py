"""What a model says before its label word: found at the start, put behind every question, or named with what to set."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs

from moderation_service.app.compose import open_judge
from moderation_service.contracts.engine_input import Language, Questionnaire
from moderation_service.demo.samples import posts
from moderation_service.engine.answer_prefix import PROBES, FirstTokens, find_answer_prefix
from moderation_service.engine.base import LabelScore, Pixels, ScoreRequest
from moderation_service.engine.local import engine as local
from moderation_service.engine.local.checkpoint import Checkpoint
from moderation_service.engine.local.engine import LocalEngine
from moderation_service.policies.pack import load_pack
from moderation_service.settings import BareSettings, EngineSettings, shipped_policies
from tests.engine.local.checkpoint_server import CheckpointServer
from tests.engine.local.conftest import MakeScorer
from tests.engine.local.demo_views import views
from tests.engine.local.test_remote import connected

TOKEN = "<|begin_of_video|>"  # stands in for <|begin_of_box|>, which the bundled model does not have
ANSWERED = FirstTokens(LabelScore(0.9, 0.99), (("yes", 0.9), ("no", 0.09)))
BOXED = FirstTokens(LabelScore(0.9, 1e-6), ((TOKEN, 0.999), ("yes", 1e-6)))
CHATTY = FirstTokens(LabelScore(0.5, 0.0), (("The", 0.9), ("This", 0.1)))


async def searched(configured: str, answers: Callable[[str], FirstTokens]) -> tuple[str, list[tuple[str, int]]]:
    """The prefix that is found, and what was asked: each prefix with how many questions."""
    asked = []

    async def ask(prefix: str, probes: Sequence[ScoreRequest]) -> list[FirstTokens]:
        asked.append((prefix, len(probes)))
        return [answers(prefix)] * len(probes)

    return await find_answer_prefix(configured, ask), asked


async def test_a_model_that_answers_is_asked_once_and_nothing_is_put_before_its_answer() -> None:
    assert await searched("auto", lambda _: ANSWERED) == ("", [("", 1)])


@pytest.mark.parametrize("first", [TOKEN, "\n", f"\n{TOKEN}"])
async def test_a_control_token_or_white_space_that_leads_is_put_before_the_answer(first: str) -> None:
    def answers(prefix: str) -> FirstTokens:
        rest = first.removeprefix(prefix)
        leader = rest if rest in {TOKEN, "\n"} else rest[:1]
        return ANSWERED if prefix == first else FirstTokens(LabelScore(0.5, 0.0), ((leader, 1.0),))

    prefix, asked = await searched("auto", answers)
    assert prefix == first
    assert asked[:2] == [("", 1), ("", len(PROBES))]


async def test_words_are_never_put_before_an_answer_and_what_the_model_says_is_named() -> None:
    with capture_logs() as logs:
        assert (await searched("auto", lambda _: CHATTY))[0] == ""
    (line,) = logs
    assert line["log_level"] == "error"
    assert "engine.labels should be the words that it answers with" in line["event"]
    assert line["likely"][0] == ["The", "This"]


async def test_the_owners_own_prefix_is_used_and_a_better_one_named() -> None:
    with capture_logs() as logs:
        assert (await searched("", lambda prefix: ANSWERED if prefix == TOKEN else BOXED))[0] == ""
        assert (await searched(TOKEN, lambda prefix: ANSWERED if prefix == TOKEN else BOXED))[0] == TOKEN
    (line, _) = logs
    assert (line["log_level"], line["says_first"]) == ("error", TOKEN)
    assert "engine.answer_prefix should be auto" in line["event"]


def boxing(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint, but each answer begins with TOKEN, which then is seen as the line break before it is."""
    token = checkpoint.tokenizer.convert_tokens_to_ids(TOKEN)
    embeddings = checkpoint.model.model.get_input_embeddings()
    embeddings.weight[token] = embeddings.weight[checkpoint.tokenizer.encode("\n", add_special_tokens=False)[-1]]
    begun = False

    def look(_: object, inputs: tuple[torch.Tensor]) -> None:
        nonlocal begun
        begun = bool((inputs[0] == token).any())

    def boost(_: object, __: object, logits: torch.Tensor) -> torch.Tensor:
        logits[..., token] += 0.0 if begun else 40.0
        return logits

    embeddings.register_forward_pre_hook(look)
    checkpoint.model.lm_head.register_forward_hook(boost)
    return checkpoint


@asynccontextmanager
async def started(
    prefix: str, monkeypatch: pytest.MonkeyPatch, change: Callable[[Checkpoint], Checkpoint]
) -> AsyncIterator[LocalEngine]:
    load = local.load_checkpoint
    engine = LocalEngine(EngineSettings(device="cpu", answer_prefix=prefix))
    with monkeypatch.context() as patch:
        patch.setattr(local, "load_checkpoint", lambda settings: change(load(settings)))
        await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def test_a_control_token_that_leads_blocks_nothing_and_the_start_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load = local.load_checkpoint
    monkeypatch.setattr(local, "load_checkpoint", lambda settings: boxing(load(settings)))
    settings = BareSettings(engine=EngineSettings(device="cpu", answer_prefix=""))
    with capture_logs() as logs:
        async with open_judge(settings, load_pack(shipped_policies(), images=False)) as judge:
            verdicts = [(await judge.judge(post, trace_id="a" * 32)).verdict for post in posts("run")]
    assert {verdict.decision for verdict in verdicts} == {"abstain"}
    assert {policy.violated for verdict in verdicts for policy in verdict.policies} == {False}
    (said,) = (line for line in logs if line["log_level"] == "error")
    assert said["says_first"] == TOKEN


async def test_behind_the_prefix_that_is_found_scores_are_those_of_the_model_that_says_nothing_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def quiet(checkpoint: Checkpoint) -> Checkpoint:
        boxing(checkpoint)
        checkpoint.model.lm_head._forward_hooks.clear()
        return checkpoint

    requests: Sequence[ScoreRequest] = views(4)
    async with started("auto", monkeypatch, boxing) as boxed, started(TOKEN, monkeypatch, quiet) as unboxed:
        assert boxed.info.prompt_digest == unboxed.info.prompt_digest
        ours, theirs = await boxed.score(requests), await unboxed.score(requests)
    for one, other in zip(ours, theirs, strict=True):
        for label, wanted in zip(one.labels, other.labels, strict=True):
            assert label.score == pytest.approx(wanted.score, abs=1e-6)
            assert label.mass > 0.99


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
async def test_a_server_is_asked_token_for_token_what_the_local_engine_asks_behind_a_prefix(
    tiny_checkpoint: Path,
    make_scorer: MakeScorer,
    questionnaires: dict[Language, Questionnaire],
    make_image: Callable[[int, int], Pixels],
) -> None:
    server, scorer = CheckpointServer(tiny_checkpoint), make_scorer()
    request = ScoreRequest("Lightly used!", (make_image(60, 90),), questionnaires["en"], (0, 1))
    prefix: dict[str, Any] = {"answer_prefix": "<|begin_of_image|>"}
    async with connected(server, **prefix) as engine:
        await engine.prepare(request.questionnaire)
        server.prompts.clear()
        await engine.score([request])
        without = scorer.prefix(request.questionnaire)
        post = scorer.post_tokenizer.tokenize(request.text, request.images, without.room)
        begun = scorer.tokenizer.encode_trusted(prefix["answer_prefix"])
        wanted = [[*without.ids, *post.ids, *without.suffixes[number], *begun] for number in request.asked]
        assert sorted(server.prompts) == sorted(wanted)
