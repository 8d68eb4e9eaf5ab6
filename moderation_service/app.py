"""Composition root: the only file that knows every room."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from moderation_service import __version__
from moderation_service.contracts.post import Post
from moderation_service.engine.base import Engine
from moderation_service.errors import Fatal, Misconfigured
from moderation_service.judging import cases
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.cases import CaseResult
from moderation_service.judging.file_run import judge_into, judged_before
from moderation_service.judging.judge import Judge
from moderation_service.judging.post_files import BadPost, read_posts, root_of
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.pack import PolicyPack, load_pack
from moderation_service.settings import Settings
from moderation_service.stream.worker import Worker
from moderation_service.telemetry import metrics
from moderation_service.telemetry.health import Health
from moderation_service.telemetry.ops import ops_server

log = structlog.get_logger(__name__)


async def run(settings: Settings) -> None:
    """The service: metrics and probes first, then the model, then the stream, until SIGTERM or SIGINT."""
    log.info("starting", version=__version__, settings=settings.model_dump(mode="json"))
    health = Health()
    pack = load_pack(settings.policies.path)
    with _stop_on_signals() as stop:
        async with ops_server(settings.ops, health) as port:
            log.info("ops port open", port=port)
            async with open_judge(settings, pack) as judge:
                health.started = True
                await Worker(settings.kafka, judge, health).run(stop)
    log.info("stopped")


@asynccontextmanager
async def open_judge(settings: Settings, pack: PolicyPack) -> AsyncIterator[Judge]:
    """A judge on a loaded, warm engine. Raises Fatal where the model or the calibration can't be had."""
    calibration = Calibration.load(settings.judging.calibration)
    engine = _engine(settings)
    try:
        await engine.start()
    except Fatal:
        metrics.MODEL_LOAD_FAILURES.inc()
        raise
    try:
        info = engine.info
        metrics.MODEL_INFO.labels(info.name, info.revision, info.dtype, info.layout).set(1)
        log.info("model loaded", model=info.name, revision=info.revision, dtype=info.dtype, layout=info.layout)
        async with ImageLoader(settings.media) as loader, Batcher(engine) as batcher:
            yield Judge(
                settings=settings.judging,
                policy_settings=settings.policies,
                pack=pack,
                calibration=calibration,
                loader=loader,
                engine=engine,
                batcher=batcher,
            )
    finally:
        await engine.close()


async def judge_path(settings: Settings, path: Path, out: Path | None) -> int:
    """Judge a file or folder of posts to `out` (or standard output); how many rows were no posts."""
    done = judged_before(out) if out else set()
    found = list(read_posts(path))
    posts = [post for post in found if isinstance(post, Post)]
    bad = [row for row in found if isinstance(row, BadPost)]
    for row in bad:
        print(f"left out: {row.where}: {row.why}", file=sys.stderr)
    left = [post for post in posts if (post.post_id, post.revision) not in done]
    if done:
        print(f"{len(posts) - len(left)} of {len(posts)} posts have their verdict already", file=sys.stderr)
    if left:
        with _progress(len(left)) as advance, out.open("ab") if out else nullcontext(sys.stdout.buffer) as file:
            async with open_judge(_with_files(settings, root_of(path)), load_pack(settings.policies.path)) as judge:
                await judge_into(judge, left, file, advance)
    return len(bad)


async def run_cases(settings: Settings, path: Path) -> list[CaseResult]:
    """Run the cases of the policies under `path`, with all views."""
    pack = load_pack(path)
    judging = settings.judging.model_copy(update={"views": "always"})
    settings = _with_files(settings, root_of(path)).model_copy(update={"judging": judging})
    async with open_judge(settings, pack) as judge:
        return await cases.run_cases(judge, pack)


def _with_files(settings: Settings, root: Path) -> Settings:
    """The same settings, with pictures under `root` allowed as `file:` addresses."""
    schemes = settings.media.allowed_schemes | {"file"}
    media = settings.media.model_copy(update={"allowed_schemes": schemes, "file_root": root})
    return settings.model_copy(update={"media": media})


@contextmanager
def _progress(total: int) -> Iterator[Callable[[object], None]]:
    """A progress bar on standard error."""
    columns = (TextColumn("judging"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("judging", total=total)
        yield lambda _: progress.advance(task)


def _engine(settings: Settings) -> Engine:
    if settings.engine.kind == "openai":
        msg = "engine.kind openai: not in this version; use local"
        raise Misconfigured(msg)
    # torch takes seconds to import; commands that judge nothing do without.
    from moderation_service.engine.local import LocalEngine  # noqa: PLC0415

    return LocalEngine(settings.engine)


@contextmanager
def _stop_on_signals() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set; a second signal ends the process at once."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def on_signal(received: signal.Signals) -> None:
        if stop.is_set():
            os._exit(128 + received)
        log.info("stopping", signal=received.name)
        stop.set()

    for received in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(received, on_signal, received)
    try:
        yield stop
    finally:
        for received in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(received)
