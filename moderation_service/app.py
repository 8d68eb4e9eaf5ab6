"""Composition root: the only file that knows every room."""

import asyncio
import os
import secrets
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
from moderation_service.contracts.verdict import Verdict
from moderation_service.demo import samples
from moderation_service.demo.broker import embedded_broker
from moderation_service.demo.report import Report, Shown
from moderation_service.engine.base import Engine
from moderation_service.errors import Fatal, Misconfigured
from moderation_service.judging import cases
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.cases import CaseResult
from moderation_service.judging.file_run import judge_into, judged_before
from moderation_service.judging.judge import Judge
from moderation_service.judging.post_files import BadPost, read_posts, root_of, with_pictures
from moderation_service.kafka.io import Record, publish, read
from moderation_service.kafka.topics import create as create_topics
from moderation_service.media.files import FileReader
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.pack import PolicyPack, load_pack
from moderation_service.settings import Settings, load_settings
from moderation_service.stream.worker import Worker
from moderation_service.telemetry import metrics
from moderation_service.telemetry.health import Health
from moderation_service.telemetry.ops import ops_server

log = structlog.get_logger(__name__)


async def run(settings: Settings) -> None:
    """The service: metrics and probes first, then the model, then the stream, until SIGTERM or SIGINT."""
    log.info("starting", version=__version__, settings=settings.model_dump(mode="json"))
    health = Health()
    pack = load_pack(settings.policies.path, pictures=False)
    with _stop_on_signals() as stop:
        async with ops_server(settings.ops, health) as port:
            log.info("ops port open", port=port)
            async with open_judge(settings, pack) as judge:
                health.started = True
                await Worker(settings.kafka, judge, health).run(stop)
    log.info("stopped")


async def demo(bootstrap_servers: str | None) -> Report:
    """Sample posts through the whole service, on an embedded broker where no address is given."""
    topics = {
        f"{kind}_topic": f"moderation.demo.{kind}" for kind in ("input", "output", "dead_letter", "review", "audit")
    }
    with nullcontext(bootstrap_servers) if bootstrap_servers else embedded_broker(topics.values()) as address:
        settings = load_settings(
            kafka={
                "bootstrap_servers": address,
                # librdkafka's mock cluster knows no transactions
                "delivery": "exactly_once" if bootstrap_servers else "at_least_once",
                "group": "moderation-demo",
                **topics,
            },
            judging={"views": "always"},
        )
        if bootstrap_servers:
            await create_topics(settings.kafka)
        posts = list(samples.posts(f"demo-{secrets.token_hex(4)}"))
        await publish(settings.kafka, (_record(settings, post) for post in posts))
        pack = load_pack(settings.policies.path, pictures=False)
        with _progress(len(posts)) as advance:
            async with open_judge(settings, pack) as judge:
                verdicts = await _judged(settings, judge, {post.post_id for post in posts}, advance)
    model = next(iter(verdicts.values())).model
    how = (
        f"By {model.name} ({model.revision[:19]}), a demonstration on synthetic posts and no moderation model, "
        f"through {'Kafka at ' + bootstrap_servers if bootstrap_servers else 'an embedded broker'}, "
        f"{settings.kafka.delivery.replace('_', ' ')}."
    )
    titles = {policy.id: policy.title.en for policy in pack.policies}
    return Report([Shown(post, verdicts[post.post_id]) for post in posts], titles, how)


async def _judged(
    settings: Settings, judge: Judge, wanted: set[str], advance: Callable[[object], None]
) -> dict[str, Verdict]:
    """Run the worker until every wanted post has its verdict on the output topic."""
    stop, verdicts = asyncio.Event(), dict[str, Verdict]()
    worker = asyncio.create_task(Worker(settings.kafka, judge, Health()).run(stop))
    try:
        async for record in read(settings.kafka, settings.kafka.output_topic, follow=True):
            if worker.done():
                break
            verdict = Verdict.model_validate_json(record.value)
            if verdict.post_id in wanted - verdicts.keys():
                verdicts[verdict.post_id] = verdict
                advance(verdict)
            if len(verdicts) == len(wanted):
                break
    finally:
        stop.set()
        await worker
    return verdicts


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
                settings=settings,
                pack=pack,
                calibration=calibration,
                loader=loader,
                engine=engine,
                batcher=batcher,
            )
    finally:
        await engine.close()


async def judge_path(settings: Settings, path: Path, out: Path | None) -> int:
    """Judge a file or folder of posts to `out` (or standard output); how many rows have no verdict."""
    done = judged_before(out) if out else set()
    found = list(read_posts(path))
    posts = [post for post in found if isinstance(post, Post)]
    bad = [row for row in found if isinstance(row, BadPost)]
    for row in bad:
        print(f"left out: {row.where}: {row.why}", file=sys.stderr)
    left = [post for post in posts if (post.post_id, post.revision) not in done]
    if done:
        print(f"{len(posts) - len(left)} of {len(posts)} posts have their verdict already", file=sys.stderr)
    unjudged: list[str] = []
    if left:
        pack = load_pack(settings.policies.path, pictures=False)
        with _progress(len(left)) as advance, out.open("ab") if out else nullcontext(sys.stdout.buffer) as file:
            async with open_judge(_with_files(settings, root_of(path)), pack) as judge:
                unjudged = await judge_into(judge, left, file, advance)
    for line in unjudged:
        print(f"not judged: {line}", file=sys.stderr)
    return len(bad) + len(unjudged)


async def run_cases(settings: Settings, path: Path) -> list[CaseResult]:
    """Run the cases of the policies under `path`, with all views."""
    pack = load_pack(path)
    judging = settings.judging.model_copy(update={"views": "always"})
    settings = _with_files(settings, root_of(path)).model_copy(update={"judging": judging})
    async with open_judge(settings, pack) as judge:
        return await cases.run_cases(judge, pack)


async def publish_path(settings: Settings, path: Path) -> int:
    """Publish a file or folder of posts, pictures on disk carried in the record; how many rows were no posts."""
    bad = 0
    files = FileReader(root_of(path), settings.media.max_bytes)

    def records() -> Iterator[Record]:
        nonlocal bad
        for row in read_posts(path):
            post = with_pictures(row, files) if isinstance(row, Post) else row
            if isinstance(post, BadPost):
                bad += 1
                print(f"left out: {post.where}: {post.why}", file=sys.stderr)
            else:
                yield _record(settings, post)

    print(f"published {await publish(settings.kafka, records())} posts", file=sys.stderr)
    return bad


def _record(settings: Settings, post: Post) -> Record:
    headers = [("content-type", b"application/json")]
    return Record(settings.kafka.input_topic, post.post_id.encode(), post.model_dump_json().encode(), headers)


async def print_verdicts(settings: Settings, *, follow: bool) -> None:
    """Print the output topic's verdicts as JSON lines; deleted posts are skipped."""
    async for record in read(settings.kafka, settings.kafka.output_topic, follow=follow):
        if record.value is not None:
            sys.stdout.buffer.write(record.value + b"\n")
            sys.stdout.buffer.flush()


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
