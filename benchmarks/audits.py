"""Audits end to end on a real Kafka: a worker judges and draws, people answer blind by HTTP, rows are exported."""

import asyncio
import csv
import json
import re
import secrets
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, islice, product
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import numpy as np
from sqlalchemy import func, select

from benchmarks.command_line import main
from benchmarks.console import topics
from moderation_service.app.compose import open_judge
from moderation_service.app.console import running_console
from moderation_service.audits.sampling import cluster_key
from moderation_service.bench.local_kafka import local_kafka
from moderation_service.console.accounts import api_keys, users
from moderation_service.console.accounts.sessions import open_session
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import tables
from moderation_service.console.store.database import own_database
from moderation_service.contracts.post import Post
from moderation_service.contracts.review import Review
from moderation_service.contracts.verdict import Verdict
from moderation_service.demo.benchmark import benchmark
from moderation_service.judging.judge import Judge
from moderation_service.kafka.topic_io import post_record, publish, read
from moderation_service.kafka.topics import create
from moderation_service.policies.pack import load_pack
from moderation_service.settings import AuditSettings, BareSettings, ConsoleSettings, Settings
from moderation_service.stream.processor import RecordProcessor
from moderation_service.stream.worker import Worker
from moderation_service.telemetry import audit
from moderation_service.telemetry.health import Health

RATES: Mapping[str, float] = {
    "allow_low": 0.05,
    "allow_middle": 0.2,
    "allow_near": 0.5,
    "abstain": 0.2,
    "review": 0.3,
    "block": 0.3,
}
PEOPLE = {"ann": "reviewer", "bob": "reviewer", "eve": "admin"}
"""Who review, with their roles; eve has the permission `adjudicate`."""
_WRONG = 0.03  # of a person's answers by policy
_FORM = re.compile(r'action="(/(?:audits|verdicts)/[^"]+/decide)"')
_POST = re.compile(r'<p class="facts">.*?class="id"[^>]*>([^<]+)<')
_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')
_QUEUE = re.compile(r'<section class="hand".*', re.DOTALL)


class Case(NamedTuple):
    """A post, and the policies that it violates in truth."""

    post: Post
    violated: frozenset[str]


@dataclass
class AuditRun:
    """What an end-to-end run left. `blind` are the pages of audits as people had them in hand, by language.

    `rows` and `strata` are the exported tables, `quality` the answer of `/v1/quality`.
    """

    verdicts: list[Verdict] = field(default_factory=list)
    reviews: list[Review] = field(default_factory=list)
    blind: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    rows: list[dict[str, str]] = field(default_factory=list)
    strata: list[dict[str, str]] = field(default_factory=list)
    quality: dict[str, Any] = field(default_factory=dict)


def run(*, posts: int = 5_000, bootstrap_servers: str | None = None, seed: int = 1) -> dict[str, Any]:
    """Judge demo posts with the bundled model, answer all audits, and compute precision and recall from the rows.

    Args:
        posts: Of the bundled benchmark's kinds.
        bootstrap_servers: A Kafka to use; the bench starts one where none is given.
        seed: Of the posts, of what is drawn and of what people get wrong.
    """
    return asyncio.run(_run(posts, bootstrap_servers, seed))


async def _run(posts: int, bootstrap_servers: str | None, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        address = bootstrap_servers or stack.enter_context(local_kafka(Path(folder)))
        settings = audited_settings(address, f"sqlite:///{folder}/console.db", seed)
        pack = load_pack(settings.policies.path, images=False)
        async with open_judge(settings, pack) as judge:
            found = await end_to_end(settings, judge, list(islice(_demo_cases(seed), posts)), seed)
    return {
        "ratio": {"sampled_to_expected": {name: one["ratio"] for name, one in draws(found).items()}},
        "draws": draws(found),
        "rounds": dict(Counter(review.audit.round for review in found.reviews if review.audit)),
        "by_hand": {policy.id: by_hand(found, policy.id) for policy in pack.enforced},
        "estimates": {policy.id: estimated(found, policy.id) for policy in pack.enforced},
        "posts": posts,
        "seed": seed,
    }


def audited_settings(address: str, database_url: str, seed: int, rates: Mapping[str, float] = RATES) -> BareSettings:
    """With topics of this run's own."""
    console = {"database_url": database_url, "secure_cookies": False, "host": "127.0.0.1", "port": 0, "ops_port": 0}
    audits = {"rates": rates, "second_share": 0.3, "per_day": 1_000_000, "seed": f"audits {seed}"}
    return BareSettings(
        kafka=topics(address),
        console=ConsoleSettings.model_validate({**console, "undo_s": 0}),
        audit=AuditSettings.model_validate(audits),
    )


async def end_to_end(settings: Settings, judge: Judge, cases: Sequence[Case], seed: int) -> AuditRun:
    """Publish the posts, judge them, have all that waits answered, and read what came of it."""
    found, kafka = AuditRun(), settings.kafka
    await create(kafka)
    async with own_database(settings) as database:
        context = ConsoleContext(settings, database, judge.pack)
        async with running_console(context) as (port, _):
            stop = asyncio.Event()
            worker = asyncio.create_task(Worker(kafka, RecordProcessor(kafka, judge), Health()).run(stop))
            await publish(kafka, [post_record(kafka, case.post) for case in cases])
            await _judged(context, len(cases), worker)
            stop.set()
            await worker
            async with AsyncExitStack() as stack:
                address = f"http://127.0.0.1:{port}"
                people = [await stack.enter_async_context(_person(context, address, name)) for name in PEOPLE]
                truths = {case.post.post_id: case.violated for case in cases}
                work = [
                    _Reviewer(http, truths, found, np.random.default_rng([seed, number]))
                    for number, http in enumerate(people)
                ]
                while any(await asyncio.gather(*(one.answer_all() for one in work))):
                    pass  # a second answer may wait for whom the first one came before
                key = await api_keys.create(database, kafka, "audits", ("read",), actor=audit.process())
                called = {"Authorization": f"Bearer {key}"}
                found.quality = json.loads(await _text(people[-1], "/v1/quality?days=1", headers=called))
                found.rows, found.strata = [
                    list(csv.DictReader((await _text(people[-1], f"/audits/export/{name}.csv")).splitlines()))
                    for name in ("audits", "strata")
                ]
            await _sent(context)
    found.verdicts = [Verdict.model_validate_json(one.value) async for one in read(kafka, kafka.output_topic)]
    found.reviews = [Review.model_validate_json(one.value) async for one in read(kafka, kafka.review_topic)]
    return found


def draws(found: AuditRun) -> dict[str, dict[str, float]]:
    """By stratum, of the contents, how many were to be sampled and were, and the chi-square of that."""
    contents = {cluster_key(verdict): verdict.audit for verdict in found.verdicts}
    made = {}
    for name in sorted({draw.stratum for draw in contents.values() if draw}):
        drawn = [draw for draw in contents.values() if draw and draw.stratum == name]
        n, rate, sampled = len(drawn), drawn[0].probability, sum(draw.is_sampled for draw in drawn)
        chi_square = (sampled - n * rate) ** 2 / (n * rate * (1 - rate))
        figures = {"contents": n, "rate": rate, "sampled": sampled, "chi_square": round(chi_square, 3)}
        made[name] = {**figures, "ratio": round(sampled / (n * rate), 3)}
    return made


def estimated(found: AuditRun, policy_id: str) -> dict[str, tuple[float, float, float] | str]:
    """The estimates of `/v1/quality` for a policy with their 95% intervals, or why one was refused."""
    policy = next(one for one in found.quality["policies"] if one["policy_id"] == policy_id)
    return {one["measure"]: one["refusal"] or (one["value"], one["low"], one["high"]) for one in policy["estimates"]}


def by_hand(found: AuditRun, policy_id: str) -> dict[str, float]:
    """Prevalence, precision and recall of a policy from the exported rows alone, weighed by stratum.

    Each answered content weighs as many verdicts as its stratum has for each that was answered, copies counted. On some
    contents the policy was not judged: these count among the answered, and nowhere else.
    """
    sizes = {(row["stratum"], row["probability"]): int(row["verdicts"]) for row in found.strata}
    contents = {row["verdict_id"]: row for row in found.rows}
    answered = Counter[tuple[str, str]]()
    for row in contents.values():
        answered[row["stratum"], row["probability"]] += int(row["copies"])
    rows = [row for row in found.rows if row["policy_id"] == policy_id and row["violated"] and row["first"]]
    totals = dict.fromkeys(product((True, False), repeat=2), 0.0)
    for row in rows:
        stratum = row["stratum"], row["probability"]
        label = (row["adjudication"] or row["first"]) == "yes"
        totals[row["violated"] == "yes", label] += int(row["copies"]) * sizes[stratum] / answered[stratum]
    flagged, violating = totals[True, True] + totals[True, False], totals[True, True] + totals[False, True]
    figures = {
        "prevalence": violating / sum(totals.values()) if rows else 0.0,
        "precision": totals[True, True] / flagged if flagged else 0.0,
        "recall": totals[True, True] / violating if violating else 0.0,
    }
    return {name: round(value, 6) for name, value in figures.items()} | {"labels": len(rows)}


@dataclass
class _Reviewer:
    """Answers what the queue hands out, by the truth, and now and then wrong."""

    http: aiohttp.ClientSession
    truths: Mapping[str, Collection[str]]
    found: AuditRun
    rng: np.random.Generator
    csrf_token: str = ""

    async def answer_all(self) -> int:
        """Until nothing is left for them; how many."""
        for answered in count():
            language = "zh" if answered % 2 else "en"
            page = await _text(self.http, "/", language)
            if not _FORM.search(page):  # an answer hands out the next post; at first, and after the last, none is there
                await self._post("/queue/next")
                page = await _text(self.http, "/", language)
            if not (form := _FORM.search(page)):
                return answered
            if not (said := _POST.search(page)):
                msg = "the page in hand names no post"
                raise RuntimeError(msg)
            await self._answer(form[1], page, self.truths[said[1]], language)
        return 0

    async def _answer(self, address: str, page: str, truth: Collection[str], language: str) -> None:
        if not address.startswith("/audits/"):
            await self._post(address, decision="block" if truth else "allow", reason="as it is", queue="")
            return
        self.found.blind[language] += _QUEUE.findall(page)
        asked = re.findall(r'name="violated" value="([^"]+)"', page)
        said = [one for one in asked if (one in truth) != (self.rng.random() < _WRONG)]
        await self._post(address, answer="marked" if said else "none", violated=said)

    async def _post(self, address: str, **fields: str | list[str]) -> None:
        if not self.csrf_token and (found := _TOKEN.search(await _text(self.http, "/"))):
            self.csrf_token = found[1]
        data = {"csrf_token": self.csrf_token, **fields}
        async with self.http.post(address, data=data, allow_redirects=False) as answer:
            if answer.status != 303:  # noqa: PLR2004 - See Other
                msg = f"{address} answers {answer.status}: {(await answer.text())[:300]}"
                raise RuntimeError(msg)


@asynccontextmanager
async def _person(context: ConsoleContext, address: str, name: str) -> AsyncIterator[aiohttp.ClientSession]:
    permissions: Any = ["adjudicate"] if name == "eve" else []
    role: Any = PEOPLE[name]
    kafka, actor = context.settings.kafka, audit.process()
    await users.add(context.database, kafka, name, secrets.token_hex(), role=role, actor=actor, permissions=permissions)
    async with context.database.begin() as connection:
        token = await open_session(connection, name, hours=24)
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of an address without a name
    async with aiohttp.ClientSession(address, cookies={"session": token}, cookie_jar=jar) as http:
        yield http


def _demo_cases(seed: int) -> Iterator[Case]:
    """The bundled benchmark, with one seed after another, each post with an id of its own."""
    for part in count(seed * 1_000):
        for labelled in benchmark(part):
            violated = frozenset(policy for policy, is_violated in labelled.labels.items() if is_violated)
            yield Case(labelled.post.model_copy(update={"post_id": f"{part}-{labelled.post.post_id}"}), violated)


async def _text(
    http: aiohttp.ClientSession, address: str, language: str = "en", headers: Mapping[str, str] | None = None
) -> str:
    sent = {"Accept-Language": language, **(headers or {})}
    async with http.get(address, headers=sent, allow_redirects=False) as answer:
        answer.raise_for_status()
        return await answer.text()


async def _judged(context: ConsoleContext, posts: int, worker: asyncio.Task[None]) -> None:
    """Until the console has a verdict on each post, if each has one."""
    while True:
        async with context.database.connect() as connection:
            if (await connection.execute(select(func.count()).select_from(tables.verdicts))).scalar_one() >= posts:
                return
        if worker.done():
            worker.result()
        await asyncio.sleep(0.1)


async def _sent(context: ConsoleContext) -> None:
    """Until all reviews are on their topic."""
    while True:
        async with context.database.connect() as connection:
            if not (await connection.execute(select(func.count()).select_from(tables.outbox))).scalar_one():
                return
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    main(run)
