"""Tokens for SASL OAUTHBEARER: from a token endpoint, a file, a function. A real broker takes them in test_secured."""

import asyncio
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from aiokafka.errors import KafkaConnectionError
from pydantic import ValidationError

from moderation_service.bench.local_kafka import free_port
from moderation_service.errors import Misconfigured
from moderation_service.kafka.security import TokenRefusedError, token_provider
from moderation_service.settings import KafkaSettings

CLIENT = {"oauth_client_id": "worker", "oauth_client_secret": "s3cret"}


def settings_with(**fields: object) -> KafkaSettings:
    usual = {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}
    return KafkaSettings.model_validate(usual | fields)


class Endpoint:
    """A token endpoint. `answer` is its next answers' status and body."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str | None, dict[str, object]]] = []
        self.status, self.body = 200, '{"access_token": "first", "expires_in": 3600}'

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append((request.headers.get("Authorization"), dict(await request.post())))
        return web.Response(status=self.status, text=self.body, content_type="application/json")


@asynccontextmanager
async def endpoint() -> AsyncIterator[Endpoint]:
    made, app, port = Endpoint(), web.Application(), free_port()
    app.router.add_post("/token", made.handle)
    made.url = f"http://127.0.0.1:{port}/token"
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield made
    finally:
        await runner.cleanup()


async def test_clients_that_connect_together_ask_for_one_token_and_share_it_while_it_lasts() -> None:
    async with endpoint() as server:
        settings = settings_with(oauth_token_url=server.url, oauth_scope="kafka", **CLIENT)
        assert await asyncio.gather(*(token_provider(settings).token() for _ in range(20))) == ["first"] * 20
        basic = "Basic d29ya2VyOnMzY3JldA=="
        assert server.asked == [(basic, {"grant_type": "client_credentials", "scope": "kafka"})]


async def test_a_token_that_has_expired_is_fetched_anew() -> None:
    async with endpoint() as server:
        settings = settings_with(oauth_token_url=server.url, **CLIENT)
        server.body = '{"access_token": "short", "expires_in": 0.001}'
        assert await token_provider(settings).token() == "short"
        server.body = '{"access_token": "next", "expires_in": 60}'
        assert await token_provider(settings).token() == "next"


async def test_refused_credentials_are_said_without_the_secret_and_never_waited_for() -> None:
    async with endpoint() as server:
        server.status = 401
        with pytest.raises(TokenRefusedError, match=r"refused kafka\.oauth_client_id \(401\)") as refused:
            await token_provider(settings_with(oauth_token_url=server.url, **CLIENT)).token()
        assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(("status", "body"), [(503, ""), (200, "no json"), (200, "[]"), (200, '{"token": "x"}')])
async def test_an_endpoint_that_gives_no_token_is_asked_again_later(status: int, body: str) -> None:
    async with endpoint() as server:
        settings = settings_with(oauth_token_url=server.url, **CLIENT)
        good, (server.status, server.body) = server.body, (status, body)
        with pytest.raises(KafkaConnectionError, match=r"kafka\.oauth_token_url .* gave no token"):
            await token_provider(settings).token()
        server.status, server.body = 200, good
        assert await token_provider(settings).token() == "first"


async def test_a_token_file_is_read_at_every_connection(tmp_path: Path) -> None:
    path = tmp_path / "token"
    provider = token_provider(settings_with(oauth_token_file=path))
    with pytest.raises(TokenRefusedError, match=r"kafka\.oauth_token_file .*/token: .*No such file"):
        await provider.token()
    for token in ("one", "two"):
        path.write_text(f"{token}\n")
        assert await provider.token() == token


@pytest.mark.parametrize(("name", "token"), [("own", "own"), ("own_later", "later")])
async def test_a_function_of_the_owner_gives_the_token(
    name: str, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "msk_of_ours.py").write_text(
        'def own():\n    return "own"\n\nasync def own_later():\n    return "later"\n\n'
        'def failing():\n    raise OSError("no role")\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert await token_provider(settings_with(oauth_token_provider=f"msk_of_ours:{name}")).token() == token
    with pytest.raises(KafkaConnectionError, match="msk_of_ours:failing: OSError: no role"):
        await token_provider(settings_with(oauth_token_provider="msk_of_ours:failing")).token()


@pytest.mark.parametrize("path", ["nothing.of.the.kind:token", "json:nothing", "json", ":x"])
def test_a_function_that_is_not_there_is_said(path: str) -> None:
    with pytest.raises(Misconfigured, match="it should be MODULE:FUNCTION that can be imported"):
        token_provider(settings_with(oauth_token_provider=path))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "needs one of oauth_token_url"),
        ({"oauth_token_file": "/t", "oauth_token_provider": "a:b"}, "needs one of oauth_token_url"),
        ({"oauth_token_url": "https://id.example/token"}, "needs oauth_client_id and oauth_client_secret"),
    ],
)
def test_settings_that_name_no_source_of_tokens_are_refused(fields: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        settings_with(**fields)


async def test_msk_by_iam_is_asked_with_a_url_that_is_signed_for_its_region(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = token_provider(settings_with(oauth_token_provider="moderation_service.kafka.msk_iam:token"))
    monkeypatch.delenv("AWS_REGION", raising=False)
    with pytest.raises(KafkaConnectionError, match="AWS_REGION is not set"):
        await provider.token()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    first, second = await asyncio.gather(provider.token(), provider.token())
    assert first == second
    url = urlsplit(urlsafe_b64decode(first + "=" * (-len(first) % 4)).decode())
    assert url.hostname == "kafka.eu-west-1.amazonaws.com"
    signed = parse_qs(url.query)
    assert signed["Action"] == ["kafka-cluster:Connect"]
    assert signed["X-Amz-Credential"][0].endswith("/eu-west-1/kafka-cluster/aws4_request")
