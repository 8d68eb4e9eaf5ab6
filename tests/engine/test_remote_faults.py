import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import aiohttp
import numpy as np
import pytest
from pydantic import SecretStr

from moderation_service.contracts.engine_input import Question, Questionnaire
from moderation_service.engine.base import ExplainRequest, ScoreRequest
from moderation_service.engine.openai import client
from moderation_service.engine.openai.client import COOL_DOWN_S, FAILURES, CircuitBreaker
from moderation_service.engine.openai.engine import RemoteEngine
from moderation_service.errors import Fatal, Misconfigured, Poison, Transient, Unavailable
from moderation_service.settings import EngineSettings
from tests.engine.openai_server import (
    SHORT_BACKOFF,
    Answer,
    ScriptedServer,
    answering,
    completion,
    cut,
    failing,
    saying,
    serving,
    silent,
)
from tests.timing import Clock

WORDS = "Lightly used, the words of a post"
KEY = "sk-the-key-itself"
QUESTIONNAIRE = Questionnaire(
    "en", (Question("sale", "Is it for sale?", ""), Question("threat", "Is it a threat?", ""))
)
ONE = ScoreRequest(WORDS, (), QUESTIONNAIRE, (0,))
BOTH = ScoreRequest(WORDS, (np.zeros((30, 30, 3), np.uint8),), QUESTIONNAIRE, (0, 1))
FLAGGED = ExplainRequest(WORDS, (), "en", ("Sale of weapons",), 30.0)

no_logprobs = completion()
del no_logprobs["choices"][0]["logprobs"]
no_usage = completion()
del no_usage["usage"]


def settings_for(url: str, **changes: Any) -> EngineSettings:
    usual = {"prompt": "brief", "model": "judge", "revision": "r1", "api_key": SecretStr(KEY), "request_timeout_s": 20}
    return EngineSettings(**{"kind": "openai", "base_url": url, **usual, **changes})


Started = Callable[..., AbstractAsyncContextManager[RemoteEngine]]


@pytest.fixture
def started(clock: Clock) -> Started:
    @asynccontextmanager
    async def start(server: ScriptedServer, **changes: Any) -> AsyncIterator[RemoteEngine]:
        """An engine that has started well on a server, whose script it meets from then on."""
        script, server.script = server.script, []
        async with serving(server) as url:
            engine = RemoteEngine(settings_for(url, **changes), CircuitBreaker(clock=clock), SHORT_BACKOFF)
            await engine.start()
            await engine.prepare(QUESTIONNAIRE)
            for seen in (server.times, server.bodies, server.headers):
                seen.clear()
            server.script = script
            try:
                yield engine
            finally:
                await engine.close()

    return start


FAULTS: list[tuple[Answer, str]] = [
    (failing(500), "server_error"),
    (failing(503), "server_unavailable"),
    (failing(408), "server_unavailable"),
    (cut, "server_unreachable"),
    (saying("<html>no JSON</html>"), "server_garbled"),
    (saying("[]"), "server_garbled"),
    (saying('{"model": "judge"}'), "server_garbled"),
    (answering(no_logprobs), "server_garbled"),
    (answering(no_usage), "server_garbled"),
    (answering(completion(choices=[])), "server_garbled"),
    (answering(completion([("yes", float("nan"))])), "server_garbled"),
    (answering(completion([("yes", -0.1), ("no", -0.1)])), "server_garbled"),
    (failing(429), "server_busy"),
]


@pytest.mark.parametrize("fault", [fault for fault, _ in FAULTS])
async def test_what_passes_is_tried_again(started: Started, fault: Answer) -> None:
    server = ScriptedServer(fault, fault)
    async with started(server) as engine:
        (scored,) = await engine.score([ONE])
    assert len(server.times) == 3
    assert scored.labels[0].score == pytest.approx(1 / (1 + np.exp(-1)))
    assert scored.labels[0].mass == pytest.approx(np.exp(-0.5) + np.exp(-1.5))


@pytest.mark.parametrize(("fault", "reason"), FAULTS)
async def test_what_does_not_pass_is_an_outage(started: Started, fault: Answer, reason: str) -> None:
    server = ScriptedServer()
    async with started(server) as engine:
        server.well = fault
        with pytest.raises(Transient) as caught:
            await engine.score([ONE, ONE])
        assert caught.value.reason == reason
        assert client.ATTEMPTS <= len(server.times) <= 2 * client.ATTEMPTS
        with pytest.raises(Transient):
            await engine.score([ONE])


async def test_a_server_that_does_not_answer_in_time_is_not_asked_again_at_once(started: Started) -> None:
    server = ScriptedServer(silent)
    async with started(server, request_timeout_s=0.2) as engine:
        with pytest.raises(Transient, match=r"no answer of the engine's server in 0\.2 s") as caught:
            await engine.score([ONE])
    assert caught.value.reason == "server_timeout"
    assert len(server.times) == 1


@pytest.mark.parametrize(
    "fault", [failing(500, f"can't read {WORDS}"), cut, answering(completion([("yes", float("nan"))]))]
)
async def test_a_post_that_fails_alone_and_again_while_another_is_answered_is_poison(
    started: Started, fault: Answer
) -> None:
    server = ScriptedServer()

    async def breaking(request: Any) -> Any:
        return await (fault if WORDS in await request.text() else answering(completion()))(request)

    async with started(server) as engine:
        server.well = breaking
        with pytest.raises(Poison, match="answers others, and not this post: the engine's server") as caught:
            await engine.score([ONE])
        assert (caught.value.reason, caught.value.stage) == ("engine_error", "score")
        assert len(server.times) == 2 * (client.ATTEMPTS + 1)
        with pytest.raises(Transient):
            await engine.score([ONE, ONE])


@pytest.mark.parametrize("fault", [failing(503), failing(429), silent])
async def test_an_overload_is_never_the_posts_fault(started: Started, fault: Answer) -> None:
    server = ScriptedServer(*[fault] * client.ATTEMPTS)
    async with started(server, request_timeout_s=0.2) as engine:
        with pytest.raises(Transient):
            await engine.score([ONE])
    assert len(server.times) <= client.ATTEMPTS


async def test_a_post_that_fails_once_and_passes_then_is_answered(started: Started) -> None:
    server = ScriptedServer(*[failing(500)] * client.ATTEMPTS)
    async with started(server) as engine:
        assert len(await engine.score([ONE])) == 1


async def test_a_server_that_is_gone_is_an_outage(started: Started) -> None:
    async with started(ScriptedServer()) as engine:
        engine._client._base_url = "http://127.0.0.1:1/v1"
        with pytest.raises(Transient, match="can't be reached: ClientConnectorError") as caught:
            await engine.score([ONE])
    assert caught.value.reason == "server_unreachable"


@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_is_left_alone_for_as_long_as_it_asks(started: Started, status: int) -> None:
    server = ScriptedServer(failing(status, Retry_After="1"))
    async with started(server) as engine:
        await engine.score([ONE])
    first, second = server.times
    assert 1 <= second - first < 10


async def test_a_server_that_asks_for_long_is_not_waited_for(started: Started) -> None:
    server = ScriptedServer(failing(429, Retry_After="3600"))
    async with started(server) as engine:
        with pytest.raises(Transient, match="busy"):
            await engine.score([ONE])
    assert len(server.times) == 1


def test_retry_after_may_be_seconds_or_a_date() -> None:
    assert client._retry_after("7") == 7
    assert client._retry_after("-7") == 0
    assert client._retry_after("") is None
    assert client._retry_after("soon") is None
    later = datetime.now(UTC) + timedelta(seconds=90)
    found = client._retry_after(format_datetime(later, usegmt=True))
    assert found
    assert 80 < found <= 90


async def test_the_breaker_opens_and_one_call_finds_the_server_back(started: Started, clock: Clock) -> None:
    server = ScriptedServer()
    async with started(server) as engine:

        async def outage(requests: int) -> str:
            """Score once; the reason, and that so many requests went out."""
            before = len(server.times)
            with pytest.raises(Transient) as caught:
                await engine.score([BOTH])
            assert len(server.times) - before == requests
            return caught.value.reason

        server.well = failing(503)
        for _ in range(FAILURES):
            assert await outage(client.ATTEMPTS) == "server_unavailable"
        assert await outage(0) == "circuit_open"
        clock.now += COOL_DOWN_S
        assert await outage(client.ATTEMPTS) == "server_unavailable"
        assert await outage(0) == "circuit_open"

        clock.now += COOL_DOWN_S
        asked, go_on = asyncio.Event(), asyncio.Event()

        async def held(request: Any) -> Any:
            asked.set()
            await go_on.wait()
            return await answering(completion())(request)

        server.well = held
        trial = asyncio.create_task(engine.score([ONE]))
        await asked.wait()
        assert await outage(0) == "circuit_open"
        go_on.set()
        await trial
        assert len(await engine.score([ONE, ONE])) == 2


async def test_no_more_is_asked_at_once_than_the_setting_says(started: Started) -> None:
    server, go_on = ScriptedServer(), asyncio.Event()
    async with started(server, concurrent_requests=3) as engine:
        server.peak = 0

        async def held(request: Any) -> Any:
            if server.now == 3:
                for _ in range(100):  # as many as come meanwhile
                    await asyncio.sleep(0)
                go_on.set()
            await go_on.wait()
            return await answering(completion())(request)

        server.well = held
        assert len(await engine.score([BOTH] * 10)) == 10
    assert (server.peak, len(server.times)) == (3, 20)


async def test_the_questions_of_a_post_follow_the_first_and_differ_in_their_ends_alone(started: Started) -> None:
    server = ScriptedServer()
    async with started(server) as engine:
        await engine.score([BOTH])
    first, second = (body["messages"] for body in server.bodies)
    assert first[0]["content"][:-1] == second[0]["content"][:-1]
    ends = {turns[0]["content"][-1]["text"] for turns in (first, second)}
    assert ends == {f"{WORDS}\nIs it for sale?", f"{WORDS}\nIs it a threat?"}

    async with started(server := ScriptedServer(), layout="policies_first") as engine:
        await engine.score([BOTH])
    first, second = (body["messages"] for body in server.bodies)
    assert first[0] == second[0] == {"role": "system", "content": "sale: Is it for sale?\nthreat: Is it a threat?"}
    assert first[1]["content"][:-1] == second[1]["content"][:-1]


async def test_the_second_question_waits_for_the_answer_to_the_first(started: Started) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def held(request: Any) -> Any:
        asked.set()
        await go_on.wait()
        return await answering(completion())(request)

    server = ScriptedServer(held)
    async with started(server) as engine:
        scoring = asyncio.create_task(engine.score([BOTH]))
        await asked.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(server.times) == 1
        go_on.set()
        await scoring
    assert len(server.times) == 2


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_post_that_is_refused_while_another_is_answered_is_poison(started: Started, status: int) -> None:
    async with started(ScriptedServer(failing(status, f"can't read {WORDS}"))) as engine:
        with pytest.raises(Poison, match=f"answers others, and not this post: status {status}") as caught:
            await engine.score([ONE])
    assert (caught.value.reason, caught.value.stage) == ("engine_error", "score")


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 413, 422])
async def test_a_server_that_refuses_everybody_is_an_outage(started: Started, status: int) -> None:
    server = ScriptedServer()
    async with started(server) as engine:
        server.well = failing(status)
        for call in (
            engine.score([ONE]),
            engine.explain([FLAGGED]),
            engine.prepare(Questionnaire("zh", ONE.questionnaire.questions)),
        ):
            with pytest.raises(Transient, match=rf"refuses what it is asked \(status {status}\)") as caught:
                await call
            assert caught.value.reason == "server_refused"


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_words_about_length_in_another_refusal_cut_no_post_short(started: Started, status: int) -> None:
    server = ScriptedServer(failing(status, '{"max_tokens": 1}'))
    async with started(server) as engine:
        with pytest.raises(Transient, match=rf"refuses what it is asked \(status {status}\)"):
            await engine.score([ONE])
    assert len(server.times) == 1


async def test_another_model_than_at_the_start_gives_no_score(started: Started) -> None:
    async with started(ScriptedServer(answering(completion(model="newer")))) as engine:
        with pytest.raises(Transient, match="another model answers") as caught:
            await engine.score([ONE])
    assert caught.value.reason == "other_model"


async def test_one_that_fails_ends_the_others(started: Started) -> None:
    server = ScriptedServer(silent, failing(400))
    async with started(server) as engine:
        with pytest.raises(Poison):
            await engine.score([ONE, ONE])
        assert len(await engine.score([ONE])) == 1


async def test_an_explanation_is_cut_off_at_its_time_and_says_so(started: Started) -> None:
    async with started(ScriptedServer(silent)) as engine:
        (written,) = await engine.explain([ExplainRequest(WORDS, (), "en", ("Sale",), 0.1)])
    assert (written.text, written.finish_reason) == ("", "time")


@pytest.mark.parametrize(
    ("said", "finish", "text", "ended"),
    [
        ("The picture shows a knife.", "stop", "The picture shows a knife.", "itself"),
        ("The picture", "length", "The picture", "length"),
        ("<think>yes, <|user|></think>A knife.<|endoftext|>", "stop", "A knife.", "itself"),
        ("A knife.<think>and then", "length", "A knife.", "length"),
        (None, "stop", "", "itself"),
    ],
)
async def test_an_explanation_is_what_the_model_says_and_not_what_it_thinks(
    started: Started, said: str | None, finish: str, text: str, ended: str
) -> None:
    choice = {"message": {"role": "assistant", "content": said}, "finish_reason": finish}
    usage = {"prompt_tokens": 90, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 80}}
    server = ScriptedServer(answering(completion(choices=[choice], usage=usage)))
    async with started(server) as engine:
        (written,) = await engine.explain([FLAGGED])
    assert (written.text, written.finish_reason, written.tokens, written.generated_tokens) == (text, ended, 10, 7)
    (body,) = server.bodies
    assert "logprobs" not in body
    assert body["messages"][0]["content"][-1]["text"].startswith(
        f"<post>\n{WORDS}\n</post>\nThe post was found to violate"
    )


async def test_labels_that_are_not_among_the_likeliest_count_as_the_last_of_those(started: Started) -> None:
    only_no = answering(completion([("no", -0.01), (" yes", -5.0)]))
    neither = answering(completion([("Sure", -0.01)]))
    async with started(ScriptedServer(only_no, neither)) as engine:
        (first,), (second,) = [(await engine.score([ONE]))[0].labels for _ in range(2)]
    most = 3 * np.exp(-5.0)  # of the three words for yes
    assert first.score == pytest.approx(most / (most + np.exp(-0.01)))
    assert first.mass == pytest.approx(np.exp(-0.01))
    assert (second.score, second.mass) == (0.5, 0)


async def test_tokens_that_the_server_kept_are_not_counted_as_read(started: Started) -> None:
    usage = {"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 96}}
    server = ScriptedServer(answering(completion()), answering(completion(usage=usage)))
    async with started(server) as engine:
        (scored,) = await engine.score([BOTH])
    assert scored.tokens == 104


REFUSALS: list[tuple[Answer, type[Fatal], str]] = [
    (failing(401), Misconfigured, r"engine\.api_key: the server refuses it \(status 401\)"),
    (failing(403), Misconfigured, r"engine\.api_key: the server refuses it \(status 403\)"),
    (failing(404), Misconfigured, r"engine\.base_url .*: no OpenAI-compatible API is there \(status 404\)"),
    (failing(307, Location="http://127.0.0.1:1/"), Misconfigured, r"engine\.base_url .* without a redirect"),
    (failing(400, "not a\nmultimodal model"), Fatal, r"refused \(status 400\): not a multimodal model"),
    (failing(400, f"you sent Bearer {KEY}"), Fatal, r"refused \(status 400\): you sent Bearer \[the key\]"),
    (failing(503), Unavailable, r"engine\.base_url .* failed \(status 503\)"),
    (failing(500), Unavailable, r"engine\.base_url .* failed \(status 500\)"),
    (answering(no_logprobs), Fatal, r"choices\.0\.logprobs: missing; scoring needs chat completions with .* logprobs"),
]


@pytest.mark.parametrize(("fault", "kind", "says"), REFUSALS)
async def test_a_server_that_can_t_score_is_told_at_the_start(fault: Answer, kind: type[Fatal], says: str) -> None:
    server = ScriptedServer()
    server.well = fault
    async with serving(server) as url:
        engine = RemoteEngine(settings_for(url), backoff=SHORT_BACKOFF)
        with pytest.raises(kind, match=says) as caught:
            await engine.start()
        assert type(caught.value) is kind
        assert "\n" not in str(caught.value)
        assert KEY not in str(caught.value)
        with pytest.raises(Fatal, match="not been started"):
            _ = engine.info


async def test_a_server_that_is_not_there_is_told_at_the_start() -> None:
    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:1/v1: the engine's server can't be reached"):
        await RemoteEngine(settings_for("http://127.0.0.1:1/v1"), backoff=SHORT_BACKOFF).start()


@pytest.mark.parametrize(
    ("models", "changes", "says"),
    [
        ([{"id": "a"}, {"id": "b"}], {}, "engine.model judge: the server at .* does not have it; it has a, b"),
        ([], {}, "does not have it; it has none"),
        ([{"id": "judge"}], {"revision": None}, "engine.revision: the server does not say which revision of judge"),
        ([{"id": "judge", "revision": "r2"}], {}, "engine.revision r1: the server says that its model is r2"),
    ],
)
async def test_a_model_that_a_verdict_could_not_name_is_refused(
    models: list[Any], changes: dict[str, Any], says: str
) -> None:
    server = ScriptedServer()
    server.models = models
    async with serving(server) as url:
        with pytest.raises(Misconfigured, match=says):
            await RemoteEngine(settings_for(url, **changes), backoff=SHORT_BACKOFF).start()


async def test_the_revision_is_the_servers_where_it_says_so() -> None:
    server = ScriptedServer()
    server.models = [{"id": "judge", "revision": "r2"}]
    async with serving(server) as url:
        engine = RemoteEngine(settings_for(url, revision=None), backoff=SHORT_BACKOFF)
        await engine.start()
        assert engine.info.revision == "r2"
        await engine.close()


async def test_the_key_goes_to_the_server_alone(started: Started) -> None:
    elsewhere = ScriptedServer()
    async with serving(elsewhere) as url:
        server = ScriptedServer(failing(307, Location=f"{url}/chat/completions"))
        async with started(server) as engine:
            with pytest.raises(Transient):
                await engine.score([ONE])
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert not elsewhere.times


@pytest.mark.parametrize("key", ["two\nlines", "schlüssel"])
def test_a_key_that_can_t_be_sent_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(Misconfigured, match=r"engine\.api_key") as caught:
        RemoteEngine(settings_for("http://localhost/v1", api_key=SecretStr(key)))
    assert key not in str(caught.value)


async def test_nothing_of_a_post_or_the_key_is_logged_or_raised(
    started: Started, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    quoting = f"can't read {WORDS} with {KEY}"
    faults = [failing(status, quoting) for status in (400, 401, 422, 429, 500)]
    faults += [saying(json.dumps({"model": quoting})), cut, answering(completion(model=quoting))]
    raised = []
    with caplog.at_level(logging.DEBUG):
        async with started(server := ScriptedServer()) as engine:
            for fault in faults:
                engine._client._breaker = CircuitBreaker()
                server.well = fault
                with pytest.raises((Transient, Poison)) as caught:
                    await engine.score([ONE])
                raised.append(repr(caught.value))
    out, err = capfd.readouterr()
    everything = out + err + caplog.text + "".join(raised)
    assert "status 429" in everything
    assert "words of a post" not in everything
    assert KEY not in everything


async def test_an_engine_that_is_not_running_says_so() -> None:
    engine = RemoteEngine(settings_for("http://127.0.0.1:1/v1"), backoff=SHORT_BACKOFF)
    with pytest.raises(Fatal, match="not running"):
        await engine.score([ONE])
    await engine.close()


async def test_no_cookie_of_a_server_is_kept(started: Started) -> None:
    server = ScriptedServer(failing(500, Set_Cookie="who=me"))
    async with started(server) as engine:
        await engine.score([ONE])
    assert "Cookie" not in server.headers[1]
    assert aiohttp.hdrs.USER_AGENT in server.headers[1]
