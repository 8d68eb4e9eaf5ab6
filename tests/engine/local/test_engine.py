import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from moderation_service.contracts.engine_input import Language, Questionnaire
from moderation_service.engine.base import Engine, ExplainRequest, Pixels, ScoreRequest, ScoreResult
from moderation_service.engine.local import engine as local
from moderation_service.engine.local.engine import LocalEngine
from moderation_service.engine.local.scorer import Scorer
from moderation_service.errors import Fatal, Misconfigured, Poison, Transient
from moderation_service.settings import EngineSettings
from tests.engine.local.tiny import make_tokenizer, save_checkpoint

Draw = Callable[[int, int], Pixels]


@pytest.fixture
async def engine(tiny_checkpoint: Path) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(EngineSettings(model=str(tiny_checkpoint), device="cpu"))
    await engine.start()
    yield engine
    await engine.close()


@pytest.fixture
def request_(questionnaires: dict[Language, Questionnaire], make_image: Draw) -> ScoreRequest:
    return ScoreRequest("Lightly used", (make_image(40, 60),), questionnaires["en"], (0, 1))


@pytest.fixture
def explain_request(make_image: Draw) -> ExplainRequest:
    return ExplainRequest("Lightly used", (make_image(40, 60),), "en", ("Sale of weapons",), timeout_s=60.0)


def scorer_of(engine: LocalEngine) -> Scorer:
    assert engine._scorer is not None
    return engine._scorer


async def test_it_says_what_a_verdict_records(engine: Engine, tiny_checkpoint: Path) -> None:
    info = engine.info
    assert (info.name, info.dtype, info.quantization, info.engine) == ("tiny", "float32", None, "local")
    assert info.layout == "post_first"
    assert info.revision.startswith("sha256:")
    assert info.prompt_digest.startswith("sha256:")
    assert info.image_pixels == 84 * 84
    other = LocalEngine(EngineSettings(model=str(tiny_checkpoint), device="cpu", layout="policies_first"))
    await other.start()
    assert (other.info.layout, other.info.revision) == ("policies_first", info.revision)
    assert other.info.prompt_digest != info.prompt_digest
    await other.close()


async def test_calls_made_at_once_are_each_answered_as_if_alone(
    engine: LocalEngine, request_: ScoreRequest, questionnaires: dict[Language, Questionnaire]
) -> None:
    text = ScoreRequest("Meet me behind the school", (), questionnaires["zh"], (1,))
    alone = [await engine.score([request_]), await engine.score([text, request_])]
    assert await asyncio.gather(engine.score([request_]), engine.score([text, request_])) == alone


async def test_the_loop_goes_on_while_the_model_works(
    engine: LocalEngine, request_: ScoreRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = scorer_of(engine)
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    threads = []
    score = scorer.score

    def held(requests: Any) -> Any:
        threads.append(threading.current_thread())
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(60)
        return score(requests)

    monkeypatch.setattr(scorer, "score", held)
    scoring = asyncio.create_task(engine.score([request_]))
    await begun.wait()
    for _ in range(100):
        await asyncio.sleep(0)
    assert not scoring.done()
    go_on.set()
    assert len((await scoring)[0].labels) == 2
    await engine.score([request_])
    assert threads[0] is threads[1]
    assert threads[0] is not threading.main_thread()


async def test_loading_leaves_the_loop_free_and_no_prefix_behind(tiny_checkpoint: Path) -> None:
    engine = LocalEngine(EngineSettings(model=str(tiny_checkpoint), device="cpu"))
    starting = asyncio.create_task(engine.start())
    await asyncio.sleep(0)
    assert not starting.done()
    await starting
    assert not scorer_of(engine)._prefixes
    await engine.close()


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory", "no memory for a call of 1 requests"),
        (MemoryError(), "out_of_memory", "no memory for a call of 1 requests"),
        (RuntimeError("secret words"), "engine_error", "the model failed with RuntimeError"),
        (ValueError("secret words"), "engine_error", "the model failed with ValueError"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
            *("out_of_memory", "no memory for a call of 1 requests"),
        ),
        (
            RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
            *("out_of_memory", "no memory for a call of 1 requests"),
        ),
    ],
)
async def test_what_fails_inside_the_model_may_go_through_later(
    engine: LocalEngine,
    request_: ScoreRequest,
    explain_request: ExplainRequest,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    reason: str,
    message: str,
) -> None:
    def fail(**_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(scorer_of(engine).checkpoint.model.model, "forward", fail)
        with pytest.raises(Transient) as caught:
            await engine.score([request_])
        with pytest.raises(Transient) as unexplained:
            await engine.explain([explain_request])
    assert (caught.value.reason, str(caught.value)) == (reason, message)
    assert (unexplained.value.reason, str(unexplained.value)) == (reason, message)
    assert len(await engine.score([request_])) == 1


async def test_a_request_that_fails_twice_while_the_engine_answers_another_is_poison(
    engine: LocalEngine, request_: ScoreRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = scorer_of(engine)
    score = scorer.score

    def fail_on_it(requests: tuple[ScoreRequest, ...]) -> list[ScoreResult]:
        if request_ in requests:
            raise RuntimeError("secret words")
        return score(requests)

    monkeypatch.setattr(scorer, "score", fail_on_it)
    with pytest.raises(Poison, match="fails on this post and answers another") as caught:
        await engine.score([request_])
    assert (caught.value.reason, caught.value.stage) == ("engine_error", "score")
    with pytest.raises(Transient):
        await engine.score([request_, replace(request_, text="another")])


async def test_requests_are_read_beside_the_model_and_answered_as_if_they_were_not(
    engine: LocalEngine, request_: ScoreRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = replace(request_, text="Meet me behind the school", images=(), asked=(1,))
    wanted = await engine.score([request_, text])  # which also keeps the prefix
    scorer = scorer_of(engine)
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def held(_: object) -> None:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(60)

    with monkeypatch.context() as patch:
        patch.setattr(scorer, "prefix", held)
        working = asyncio.create_task(engine.prepare(request_.questionnaire))
        await begun.wait()
        ready = await engine.preprocess([request_, text])  # the model's thread is held meanwhile
        go_on.set()
        await working
    monkeypatch.setattr(scorer.post_tokenizer, "tokenize", lambda *_: pytest.fail("read again, on the model's thread"))
    assert await engine.score(ready) == wanted


async def test_what_reads_beside_the_model_uses_its_device(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[tuple[str, torch.device]] = []
    monkeypatch.setattr(local, "use_device", lambda device: used.append((threading.current_thread().name, device)))
    engine = LocalEngine(EngineSettings(model=str(tiny_checkpoint), device="cpu"))
    await engine.start()
    await engine.close()
    assert used == [("engine-reader_0", torch.device("cpu"))]


async def test_a_request_that_can_t_be_read_ahead_is_left_to_be_scored(
    engine: LocalEngine, request_: ScoreRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await engine.preprocess([request_]))[0] is request_  # nothing is kept yet to read it behind
    wanted = await engine.score([request_])
    with monkeypatch.context() as patch:
        patch.setattr(scorer_of(engine).post_tokenizer, "tokenize", lambda *_: 1 / 0)
        (left,) = await engine.preprocess([request_])
        assert left is request_
        with pytest.raises(Transient):
            await engine.score([left])
    assert await engine.score([left]) == wanted


async def test_a_device_that_failed_for_good_ends_the_process(
    engine: LocalEngine, request_: ScoreRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nsecret words")

    monkeypatch.setattr(scorer_of(engine), "score", fail)
    with pytest.raises(Fatal, match=r"answers nothing more in this process: CUDA error: an illegal memory access.*d$"):
        await engine.score([request_])


async def test_a_model_that_fails_on_everything_ends_the_process_at_the_third_time(
    engine: LocalEngine, request_: ScoreRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = scorer_of(engine)
    with monkeypatch.context() as patch:
        patch.setattr(scorer, "score", lambda _: 1 / 0)
        for _ in range(2):
            with pytest.raises(Transient):
                await engine.score([request_])
    assert len(await engine.score([request_])) == 1  # which is not in a row with what fails again
    monkeypatch.setattr(scorer, "score", lambda _: 1 / 0)
    for _ in range(2):
        with pytest.raises(Transient):
            await engine.score([request_])
    with pytest.raises(Fatal, match="failed 3 times in a row"):
        await engine.score([request_])


async def test_a_want_of_memory_is_never_the_posts_fault(
    engine: LocalEngine, request_: ScoreRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = scorer_of(engine)
    score = scorer.score

    def fail_on_it(requests: tuple[ScoreRequest, ...]) -> list[ScoreResult]:
        if request_ in requests:
            raise torch.OutOfMemoryError("taken by another process")
        return score(requests)

    monkeypatch.setattr(scorer, "score", fail_on_it)
    with pytest.raises(Transient) as caught:
        await engine.score([request_])
    assert caught.value.reason == "out_of_memory"


async def test_preparing_refuses_policies_that_leave_no_room(
    tiny_checkpoint: Path, questionnaires: dict[Language, Questionnaire]
) -> None:
    settings = EngineSettings(
        model=str(tiny_checkpoint), device="cpu", layout="policies_first", prompt="full", max_context_tokens=320
    )
    engine = LocalEngine(settings)
    await engine.start()
    with pytest.raises(Misconfigured, match="the policies alone take"):
        await engine.prepare(Questionnaire("en", questionnaires["en"].questions * 4))
    await engine.close()


async def test_a_request_that_fails_once_is_answered(
    engine: LocalEngine, request_: ScoreRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = scorer_of(engine)
    outcomes = iter([RuntimeError("once")])
    score = scorer.score

    def fail_once(requests: tuple[ScoreRequest, ...]) -> list[ScoreResult]:
        for error in outcomes:
            raise error
        return score(requests)

    monkeypatch.setattr(scorer, "score", fail_once)
    assert len(await engine.score([request_])) == 1


async def test_scores_that_are_no_numbers_never_pass_for_low_ones(
    engine: LocalEngine, request_: ScoreRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = scorer_of(engine)
    forward = scorer._forward
    monkeypatch.setattr(scorer, "_forward", lambda **inputs: forward(**inputs) * torch.nan)
    with pytest.raises(Transient, match="not finite"):
        await engine.score([request_])


async def test_explaining_on_the_engines_thread_leaves_scores_as_they_were(
    engine: LocalEngine, request_: ScoreRequest, explain_request: ExplainRequest
) -> None:
    alone = await engine.score([request_])
    scored, (written,) = await asyncio.gather(engine.score([request_]), engine.explain([explain_request]))
    assert scored == alone
    assert written.tokens > written.generated_tokens > 0
    assert await engine.score([request_]) == alone


async def test_posts_are_scored_between_the_words_of_an_explanation_and_neither_changes_the_other(
    engine: LocalEngine, request_: ScoreRequest, explain_request: ExplainRequest
) -> None:
    scored, written = await engine.score([request_]), await engine.explain([explain_request])
    assert written[0].generated_tokens > 3
    ended = list[str]()

    async def score() -> None:
        assert await engine.score([request_]) == scored
        ended.append("scored")

    async def explain() -> None:
        assert await engine.explain([explain_request]) == written
        ended.append("explained")

    await asyncio.gather(explain(), score(), score())
    assert ended == ["scored", "scored", "explained"]


async def test_an_engine_that_is_not_running_says_so(
    tiny_checkpoint: Path, request_: ScoreRequest, explain_request: ExplainRequest
) -> None:
    engine = LocalEngine(EngineSettings(model=str(tiny_checkpoint), device="cpu"))
    with pytest.raises(Fatal, match="not been started"):
        _ = engine.info
    with pytest.raises(Fatal, match="not running"):
        await engine.score([request_])
    with pytest.raises(Fatal, match="not running"):
        await engine.explain([explain_request])
    with pytest.raises(Fatal, match="not running"):
        await engine.preprocess([request_])
    await engine.start()
    await engine.close()
    await engine.close()
    with pytest.raises(Fatal, match="not running"):
        await engine.score([request_])


async def test_closing_lets_the_calls_that_wait_finish(engine: LocalEngine, request_: ScoreRequest) -> None:
    calls = [asyncio.create_task(engine.score([request_])) for _ in range(3)]
    await asyncio.sleep(0)
    await engine.close()
    assert [len(await call) for call in calls] == [1, 1, 1]


async def test_a_model_that_can_t_answer_once_does_not_start(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        message = "split_with_sizes"
        raise RuntimeError(message)

    monkeypatch.setattr(Scorer, "_compute_prefix", lambda self, _: fail(self))
    engine = LocalEngine(EngineSettings(model=str(tiny_checkpoint), device="cpu"))
    with pytest.raises(Fatal, match="the first forward fails: the model failed with RuntimeError"):
        await engine.start()
    await engine.close()


async def test_a_tokenizer_that_can_be_smuggled_into_does_not_start(tmp_path: Path) -> None:
    engine = LocalEngine(EngineSettings(model=str(save_checkpoint(tmp_path, make_tokenizer("SECRET"))), device="cpu"))
    with pytest.raises(Fatal, match="a control token 'SECRET'"):
        await engine.start()
    await engine.close()
