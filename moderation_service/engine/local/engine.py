"""The local engine: a model in this process, on a thread of its own."""

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import torch

from moderation_service.contracts.engine_input import Questionnaire
from moderation_service.engine.answer_prefix import FirstTokens, find_answer_prefix
from moderation_service.engine.base import (
    OUT_OF_MEMORY,
    WARM_UP,
    EngineInfo,
    ExplainRequest,
    GeneratedText,
    ScoreRequest,
    ScoreResult,
)
from moderation_service.engine.local.checkpoint import Checkpoint, load_checkpoint, use_device
from moderation_service.engine.local.generator import Generator
from moderation_service.engine.local.model_check import check_model
from moderation_service.engine.local.scorer import Scorer
from moderation_service.engine.model_report import CheckInput, ModelReport, latency_ms
from moderation_service.engine.prompts import Labels
from moderation_service.errors import Fatal, ModerationError, Poison, Transient
from moderation_service.settings import EngineSettings
from moderation_service.telemetry import metrics

Result = TypeVar("Result")
MAX_FAILURES = 3
"""Of the simplest question in a row, before the process ends: a new one may find a working device."""

_NO_MEMORY = re.compile(r"(CUBLAS|CUDNN)_STATUS_(ALLOC_FAILED|INTERNAL_ERROR_HOST_ALLOCATION_FAILED)")


class LocalEngine:
    """Scores with torch and transformers. All that touches the model runs on one thread, in turn.

    Requests are read on another, while the model works on those before them.
    """

    def __init__(self, settings: EngineSettings, load: Callable[[EngineSettings], Checkpoint] | None = None) -> None:
        """Takes nothing yet: see `start`, which calls `load`, by default `load_checkpoint`."""
        self._settings = settings
        self._load_checkpoint = load
        self._thread = ModelThread()
        self._reading = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine-reader")
        self._scorer: Scorer | None = None
        self._generator: Generator | None = None
        self._info: EngineInfo | None = None
        self._failures = 0  # of the simplest question, in a row

    @property
    def info(self) -> EngineInfo:
        """What the verdicts record. Raises Fatal before `start`."""
        if self._info is None:
            msg = "the engine has not been started"
            raise Fatal(msg)
        return self._info

    @property
    def scorer(self) -> Scorer:
        """What reads requests and computes scores, for the training. Raises Fatal before `start`."""
        return self._running()[0]

    async def start(self) -> None:
        """Load the model and let it answer once. Raises Fatal, in one line, when it can't."""
        scorer, settings = await self._thread.run(self._load), self._settings
        checkpoint = scorer.checkpoint
        try:
            await self._find_answer_prefix(scorer, settings.answer_prefix)
        except Transient as error:
            msg = f"engine.model {settings.model}: the first forward fails: {error}"
            raise Fatal(msg) from error
        await asyncio.get_running_loop().run_in_executor(self._reading, use_device, checkpoint.device)
        self._info = EngineInfo(
            name=checkpoint.name,
            revision=checkpoint.revision,
            dtype=str(checkpoint.dtype).removeprefix("torch."),
            quantization=settings.quantization,
            engine="local",
            layout=settings.layout,
            prompt_digest=scorer.prompts.digest,
            context_tokens=scorer.context_tokens,
            image_pixels=scorer.preprocessor.max_pixels,
        )
        _watch_memory(checkpoint.device)
        self._scorer, self._generator = scorer, Generator(scorer)

    async def prepare(self, questionnaire: Questionnaire) -> None:
        """Compute and keep the questionnaire's prefix. Raises Misconfigured where it leaves no room for a post."""
        scorer, _ = self._running()
        await self._thread.run(lambda: scorer.prefix(questionnaire))

    async def preprocess(self, requests: Sequence[ScoreRequest]) -> list[ScoreRequest]:
        """Tokenize words and stage images beside the model. A request that can't be read is left to `score`."""
        scorer, _ = self._running()
        asked = tuple(requests)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reading, lambda: [_preprocess(scorer, request) for request in asked])

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        """Answer each request; calls queue for the thread, but pass between the words of an explanation.

        Raises Transient: `out_of_memory`, or `engine_error` for all else that fails inside the model; Poison,
        `engine_error`, for a request that fails alone and again while the engine answers another; Fatal where the
        device or the model answers nothing any more.
        """
        scorer, _ = self._running()
        asked = tuple(requests)
        return await self._thread.run_interleaved(lambda: self._score_or_blame(scorer, asked))

    async def explain(self, requests: Sequence[ExplainRequest]) -> list[GeneratedText]:
        """Write for each request; scoring has half of the thread's time meanwhile, if it needs it.

        Raises Transient: `out_of_memory`, or `engine_error` for all else that fails inside the model.
        """
        _, generator = self._running()
        asked = tuple(requests)
        return await self._thread.run(
            lambda: _classify_errors(lambda: generator.explain(asked, TimeSlice(self._thread)), len(asked))
        )

    async def check(self, checked: CheckInput) -> ModelReport:
        """Ask and measure what `moderation model check` shows. Raises as `score`."""
        scorer, _ = self._running()
        took = await latency_ms(self, checked)  # before the rest, which tells the peak of memory
        found, own = None, scorer.prompts.answer_prefix
        if self._settings.answer_prefix != "auto":
            await self._find_answer_prefix(scorer, "auto")
            found = scorer.prompts.answer_prefix
            await self._thread.run(partial(scorer.set_answer_prefix, own))
        check = partial(check_model, scorer, self._settings, self.info, found, took, checked)
        return await self._thread.run(lambda: _classify_errors(check, 1))

    async def close(self) -> None:
        """Let the calls that wait finish, take no more, and free the model."""
        self._scorer = self._generator = None
        await asyncio.to_thread(self._reading.shutdown)
        await asyncio.to_thread(self._thread.close)
        _free_memory()

    def _score_or_blame(self, scorer: Scorer, requests: tuple[ScoreRequest, ...]) -> list[ScoreResult]:
        """Score; where one request alone fails twice, tell whether it or the engine is at fault.

        Without this a post that breaks the model would be tried, and hold its partition, for ever. A want of memory is
        never the post's fault: another process may have taken it, and a smaller request that passes proves nothing.
        """
        try:
            scored = _score(scorer, requests)
        except Transient as error:
            if len(requests) > 1 or error.reason == OUT_OF_MEMORY:
                raise
        else:
            self._failures = 0
            return scored
        try:
            return _score(scorer, requests)
        except Transient as error:
            if error.reason == OUT_OF_MEMORY:
                raise
            self._check_health(scorer)
            msg = f"the engine fails on this post and answers another: {error}"
            raise Poison(error.reason, msg, stage="score") from error

    def _check_health(self, scorer: Scorer) -> None:
        """Raise Transient where the model can't answer the simplest question, Fatal where that happened too often."""
        try:
            _score(scorer, (WARM_UP,))
        except Transient as error:
            self._failures += 1
            if self._failures < MAX_FAILURES or error.reason == OUT_OF_MEMORY:
                raise
            msg = (
                f"the model failed {self._failures} times in a row on a question that it answered at the start: {error}"
            )
            raise Fatal(msg) from error
        self._failures = 0

    def _running(self) -> tuple[Scorer, Generator]:
        if self._scorer is None or self._generator is None:
            msg = "the engine is not running"
            raise Fatal(msg)
        return self._scorer, self._generator

    def _load(self) -> Scorer:
        settings = self._settings
        return Scorer(
            (self._load_checkpoint or load_checkpoint)(settings),
            settings.layout,
            settings.prompt_mode,
            labels=Labels.of(settings.labels),
            max_context_tokens=settings.max_context_tokens,
            max_batch_tokens=settings.max_batch_tokens,
        )

    async def _find_answer_prefix(self, scorer: Scorer, configured: str) -> None:
        """Ask what every model can answer, and let the scorer ask behind the prefix that is found."""

        def ask(prefix: str, probes: Sequence[ScoreRequest]) -> list[FirstTokens]:
            scorer.set_answer_prefix(prefix)
            return [_classify_errors(partial(scorer.first_tokens, probe), 1) for probe in probes]

        found = await find_answer_prefix(configured, lambda *asked: self._thread.run(partial(ask, *asked)))
        await self._thread.run(partial(scorer.set_answer_prefix, found))


def _watch_memory(device: torch.device) -> None:
    """Let every look at the metrics ask the GPU."""

    def used() -> int:
        free, total = torch.cuda.mem_get_info(device)
        return total - free

    if device.type == "cuda":
        metrics.GPU_MEMORY_TOTAL.set(torch.cuda.mem_get_info(device)[1])
        metrics.GPU_MEMORY_USED.set_function(used)


def _preprocess(scorer: Scorer, request: ScoreRequest) -> ScoreRequest:
    try:
        return scorer.preprocess(request)
    except Exception:  # noqa: BLE001 - `score` meets it again, and gives it its fate
        return request


def _score(scorer: Scorer, requests: tuple[ScoreRequest, ...]) -> list[ScoreResult]:
    return _classify_errors(lambda: scorer.score(requests), len(requests))


def _classify_errors(work: Callable[[], Result], requests: int) -> Result:
    """Do what one call asks of the model. Raises ModerationErrors alone."""
    try:
        return work()
    except ModerationError:
        raise
    except (torch.OutOfMemoryError, MemoryError):
        pass
    except torch.AcceleratorError as error:
        # Sticky: after an illegal access every call of this process fails, and another process may work.
        msg = f"the device failed, and answers nothing more in this process: {str(error).splitlines()[0]}"
        raise Fatal(msg) from error
    except Exception as error:
        if not _NO_MEMORY.search(str(error)):
            # The class alone: a library's message may quote what it was given.
            reason = "engine_error"
            raise Transient(reason, f"the model failed with {type(error).__name__}") from error
    # Out of the handler: the exception's frames would go on holding the very tensors there is no memory for.
    _free_memory()
    raise Transient(OUT_OF_MEMORY, f"no memory for a call of {requests} requests")


def _free_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class ModelThread:
    """The one thread that touches the model. Work goes in its order, but a `TimeSlice` lets `brief` work pass."""

    def __init__(self) -> None:
        """No thread runs until there is work."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._brief: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()

    async def run(self, work: Callable[[], Result]) -> Result:
        """Do it in its turn. Raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def run_interleaved(self, work: Callable[[], Result]) -> Result:
        """Do it in its turn, or sooner in a gap. Raises what it raises."""
        done: Future[Result] = Future()
        self._brief.put((done, work))
        self._thread.submit(self.run_interleaved_work)  # which finds it done where there was a gap
        return await asyncio.wrap_future(done)

    def run_interleaved_work(self) -> None:
        """On the thread: the first brief work that waits, if any does."""
        try:
            done, work = self._brief.get_nowait()
        except Empty:
            return
        if done.set_running_or_notify_cancel():
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits
                done.set_exception(error)

    def close(self) -> None:
        """Do what waits, take no more, and end."""
        self._thread.shutdown()


class TimeSlice:
    """Called between the words of one long work: does brief work there, for half of the time at most."""

    def __init__(self, thread: ModelThread) -> None:
        """The long work begins now."""
        self._thread = thread
        self._began = time.monotonic()
        self._given = 0.0

    def __call__(self) -> None:
        """Let one brief work pass, if any waits and the long one has had its share."""
        now = time.monotonic()
        if 2 * self._given <= now - self._began:
            self._thread.run_interleaved_work()
            self._given += time.monotonic() - now
