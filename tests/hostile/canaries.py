"""A process that lets everything fail with marked words in it, at the most talkative level of the logs.

Its arguments are their format, and what is to fail (everything without one). Logs go to standard error; what readers
of the topics are told of errors beside the record itself, spans, and what `/metrics` shows, to standard output.
"""

import asyncio
import base64
import gc
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from importlib.util import find_spec
from io import BytesIO
from ipaddress import ip_network
from typing import Literal, cast

import structlog
from aiohttp import web
from PIL import Image
from PIL.ExifTags import Base
from prometheus_client import generate_latest
from pydantic import SecretStr

from moderation_service.backoff import Backoff
from moderation_service.contracts.dead_letter import PREFIX
from moderation_service.engine.base import Engine, ExplainRequest, GeneratedText, ScoreRequest, ScoreResult
from moderation_service.engine.openai.engine import RemoteEngine
from moderation_service.errors import Fatal, Poison, Transient
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.judge import Judge
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.pack import load_pack
from moderation_service.settings import (
    EngineSettings,
    JudgingSettings,
    KafkaSettings,
    LoggingSettings,
    MediaSettings,
    Settings,
    shipped_policies,
)
from moderation_service.stream.processing_result import ReceivedRecord, log_completion
from moderation_service.stream.processor import RecordProcessor
from moderation_service.telemetry import logs, tracing
from tests.engine.openai_server import SHORT_BACKOFF, ScriptedServer, cut, serving
from tests.judging.engines import RuleEngine
from tests.stream.records import record

TEXT, AUTHOR, IMAGE = "canary-of-the-text", "canary-of-the-author", "canary-of-the-picture"
QUERY, KEY, PASSWORD, METADATA = "canary-of-the-query", "canary-of-the-key", "canary-of-the-password", "canary-of-more"
ENCODED = base64.b64encode(IMAGE.encode()).decode()
CANARIES = (TEXT, AUTHOR, IMAGE, QUERY, KEY, PASSWORD, METADATA, ENCODED)
KAFKA = KafkaSettings(
    security_protocol="SASL_SSL",
    sasl_username="us",
    sasl_password=SecretStr(PASSWORD),
    ssl_password=SecretStr(PASSWORD),
)
ENGINE = EngineSettings(kind="openai", base_url="http://nowhere.example/v1", model="judge", api_key=SecretStr(KEY))


class Failing(RuleEngine):
    """Raises `error` at each call, or until `times` are over."""

    def __init__(self, error: Exception, times: int = 99, *, explaining: bool = False) -> None:
        super().__init__()
        self.error, self.times, self.explaining = error, times, explaining

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        self._fail(now=not self.explaining)
        return await super().score(requests)

    async def explain(self, requests: Sequence[ExplainRequest]) -> list[GeneratedText]:
        self._fail(now=self.explaining)
        return await super().explain(requests)

    def _fail(self, *, now: bool) -> None:
        if now and self.times:
            self.times -= 1
            raise self.error


async def echo(request: web.Request) -> web.Response:
    """All that was sent, in the answer to it."""
    status = int(request.match_info.get("status") or 500)
    return web.Response(status=status, text=str(dict(request.headers)) + str(request.url) + await request.text())


def echoing(status: int):  # noqa: ANN201 - as openai_server's answers
    async def answer(request: web.Request) -> web.Response:
        said = str(dict(request.headers)) + await request.text()
        return web.Response(status=status, text=said.replace("max_tokens", ""))  # with it, it would be about length

    return answer


def post(*images: dict[str, str], text: str = f"I sell it {TEXT}", **fields: object) -> bytes:
    common = {"author_id": AUTHOR, "metadata": {METADATA: [METADATA]}}
    return json.dumps({"post_id": "p-1", "text": text, "images": images, **common, **fields}).encode()


POISON = (
    post()[:-1], post() + b"}", post(text=[TEXT]), post(created_at=TEXT), post(surface=METADATA * 9),
    post(revision=TEXT), post({"url": f"https://a/?{QUERY}", "data": ENCODED}), post(schema_version=TEXT),
    TEXT.encode(), post(language=[TEXT]), post(images={TEXT: TEXT}), post(author_id=[AUTHOR]),
    post(metadata=METADATA), b'{"text": "%s"' % TEXT.encode(),
)  # fmt: skip


@asynccontextmanager
async def line(engine: Engine, media: MediaSettings | None = None) -> AsyncIterator[RecordProcessor]:
    chosen = Settings(
        kafka=KAFKA,
        media=media or MediaSettings(),
        judging=JudgingSettings(explain="generate", result_cache_size=0),
    )
    async with ImageLoader(chosen.media) as loader, Batcher(engine) as batcher:
        yield RecordProcessor(
            KAFKA,
            Judge(
                settings=chosen,
                pack=load_pack(shipped_policies(), images=False),
                calibration=Calibration.load(None),
                loader=loader,
                engine=engine,
                batcher=batcher,
                shadow_batcher=batcher,
            ),
            Backoff(0.001, 0.001),
        )


async def finish(through: RecordProcessor, value: bytes, *headers: tuple[str, bytes]) -> None:
    """As a lane does, and say what a reader is told of an error beside the record itself."""
    finished = await through.process(ReceivedRecord.of(record(value, b"p-1", headers)))
    log_completion(finished)
    told = [(name, said.decode()) for name, said in finished.outputs[0].headers if name.startswith((PREFIX, "trace"))]
    print(finished.outcome, told)  # noqa: T201


async def records() -> None:
    async with line(RuleEngine()) as through:
        for value in POISON:
            await finish(through, value)
        for name in ("content-type", "ce_specversion", "traceparent"):
            await finish(through, post(), (name, TEXT.encode()))


async def engines() -> None:
    quoting = f"can't do {TEXT} of {AUTHOR} with {KEY}"
    for engine in (
        Failing(ValueError(quoting)),
        Failing(KeyError(TEXT)),
        Failing(Transient("engine_away", "away"), times=2),
        Failing(Poison("engine_error", "it breaks", stage="score")),
        Failing(RuntimeError(quoting), explaining=True),
    ):
        async with line(engine) as through:
            await finish(through, post({"data": ENCODED}))


async def servers() -> None:
    scripts = [[echoing(status)] for status in (400, 401, 403, 404, 413, 422, 429, 500, 503)]
    scripts += [[echoing(500)] * 9, [echoing(200)] * 5, [cut] * 5]
    for script in scripts:
        server = ScriptedServer()
        async with serving(server) as url:
            engine = RemoteEngine(ENGINE.model_copy(update={"base_url": url, "revision": "r1"}), backoff=SHORT_BACKOFF)
            await engine.start()
            async with line(engine) as through:
                await through.judge.prepare()  # type: ignore[attr-defined]
                server.script = list(script)
                await finish(through, post({"data": PNG}))
            await engine.close()
    for status in (400, 401, 403, 404, 500):
        server = ScriptedServer(*[echoing(status)] * 9)
        async with serving(server) as url:
            try:
                await RemoteEngine(
                    ENGINE.model_copy(update={"base_url": url, "revision": "r1"}), backoff=SHORT_BACKOFF
                ).start()
            except Fatal as error:
                print(error, file=sys.stderr)  # noqa: T201 - as the command line does


async def images() -> None:
    app = web.Application()
    app.router.add_get("/{status}", echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    media = MediaSettings(
        allowed_schemes=frozenset({"http", "data"}),
        allowed_ports=frozenset({port, 1}),
        allowed_networks=frozenset({ip_network("127.0.0.1/32")}),
        fetch_timeout_s=2,
        fetch_attempts=2,
    )
    urls = [f"http://127.0.0.1:{port}/{status}?{QUERY}" for status in (200, 302, 404, 500)]
    urls += [f"http://127.0.0.1:1/?{QUERY}", f"http://10.0.0.1/?{QUERY}", f"ftp://a/?{QUERY}", f"http://[::1/?{QUERY}"]
    urls += [f"http://{QUERY}:80/", f"data:image/png,{QUERY}"]
    described = base64.b64encode(_described()).decode()
    references = [{"url": url} for url in urls] + [{"data": data} for data in (described, ENCODED, IMAGE)]
    references.append({"object": f"s3://b/{QUERY}"})
    async with line(RuleEngine(), media) as through:
        for reference in references:
            await finish(through, post(reference))
    await runner.cleanup()


def _described() -> bytes:
    """An image that says in its EXIF block who made it, and what."""
    exif, out = Image.Exif(), BytesIO()
    exif[Base.ImageDescription], exif[Base.Artist] = IMAGE, AUTHOR
    Image.new("RGB", (8, 8)).save(out, "JPEG", exif=exif)
    return out.getvalue()


PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"  # one red pixel


def traced() -> AbstractContextManager[None]:
    """Spans on standard output, where the extra for them is installed."""
    if find_spec("opentelemetry") is None:
        return nullcontext()
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor  # noqa: PLC0415

    return tracing._spans_to(SimpleSpanProcessor(ConsoleSpanExporter()))


async def main(how: Literal["json", "console"], *parts: str) -> None:
    logs.configure(LoggingSettings(level="DEBUG", format=how))
    log = structlog.get_logger(__name__)
    log.info("starting", settings=Settings(kafka=KAFKA, engine=ENGINE).model_dump(mode="json"))
    print(repr(Settings(kafka=KAFKA, engine=ENGINE)))  # noqa: T201
    with traced():
        for failing in (records, engines, servers, images):
            if not parts or failing.__name__ in parts:
                await failing()
    gc.collect()  # what nobody looked at is complained of now
    print(generate_latest().decode())  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(cast('Literal["json", "console"]', sys.argv[1]), *sys.argv[2:]))
