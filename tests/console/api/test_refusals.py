"""Who and what is refused: keys, scopes, sizes, slowness, floods, addresses. Never with content in the log."""

import asyncio
import base64
import gzip
import io
import json
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs
from yarl import URL

from moderation_service.app.compose import open_judge
from moderation_service.console import server
from moderation_service.console.api import bodies
from moderation_service.console.judging import seat
from moderation_service.judging.judge import Judge
from moderation_service.media import dns_cache
from moderation_service.settings import MIB, MediaSettings, Settings
from tests.console.api.callers import ON_SQLITE, Api, make_image, problem, running, serving
from tests.console.support import console_settings, shipped_pack

pytestmark = ON_SQLITE

SECRET = "words of a post that no log may hold"
POST = {"post_id": "p-1", "text": SECRET}
CALLS = (
    ("POST", "/v1/moderations", "judge"),
    ("POST", "/v1/posts", "judge"),
    ("DELETE", "/v1/posts/x", "admin"),
    ("GET", "/v1/verdicts", "read"),
    ("GET", "/v1/verdicts/x", "read"),
    ("POST", "/v1/reviews", "review"),
)


@pytest.mark.parametrize(("method", "path", "scope"), CALLS)
async def test_each_call_wants_a_key_of_its_scope(quiet_api: Api, method: str, path: str, scope: str) -> None:
    others = await quiet_api.new_key(*({"judge", "read", "review"} - {scope}))
    for key, refused in (("", (401, "no_key")), (f"{others}x", (401, "no_key")), (others, (403, "wrong_scope"))):
        with capture_logs() as logged:
            async with quiet_api.caller(key) as http, http.request(method, path, json=POST) as answer:
                assert await problem(answer) == refused
        (line,) = (line for line in logged if line["event"] == "request")
        assert (line["problem"], line["status"]) == (refused[1], refused[0])
        assert SECRET not in str(logged)
        assert others not in str(logged)


@pytest.mark.parametrize(
    ("method", "path", "refused"),
    [
        ("GET", "/v1/nothing", (404, "not_found")),
        ("GET", "/v1/", (404, "not_found")),
        ("GET", "/v1/../../etc/passwd", (404, "not_found")),
        ("GET", "/v1/posts", (405, "wrong_method")),
        ("GET", "/v1/posts/x", (405, "wrong_method")),
        ("DELETE", "/v1/posts/", (422, "wrong_fields")),
        ("DELETE", f"/v1/posts/{'x' * 513}", (422, "wrong_fields")),
        ("DELETE", "/v1/posts/caf%E9", (422, "wrong_fields")),
        ("DELETE", "/v1/verdicts/x", (405, "wrong_method")),
        ("GET", "/v1/verdicts/..%2F..%2Fetc%2Fpasswd", (404, "not_found")),
        ("GET", "/v1/verdicts/%00", (404, "not_found")),
        ("GET", "/v1/verdicts?before=0", (422, "wrong_fields")),
        ("GET", "/v1/verdicts?before=99999999999999999999", (422, "wrong_fields")),
        ("GET", "/v1/verdicts?decision=maybe", (422, "wrong_fields")),
        ("GET", "/v1/verdicts?polcy_id=a", (422, "wrong_fields")),
    ],
)
async def test_what_is_not_there_is_a_problem_too(
    quiet_api: Api, method: str, path: str, refused: tuple[int, str]
) -> None:
    address = URL(quiet_api.address + path, encoded=True)
    async with quiet_api.caller() as http, http.request(method, address) as answer:
        assert await problem(answer) == refused
        assert ("Allow" in answer.headers) == (refused[0] == 405)


@pytest.mark.parametrize(
    ("body", "headers", "refused"),
    [
        (b"{", {}, (400, "not_json")),
        (b"\xff", {}, (400, "not_json")),
        (b"", {}, (400, "not_json")),
        (b"[]", {}, (422, "wrong_fields")),
        (b'{"post_id": 7, "text": "a"}', {}, (422, "wrong_fields")),
        (b'{"post_id": "a"}', {}, (422, "wrong_fields")),
        (b"post_id=a&text=b", {"Content-Type": "application/x-www-form-urlencoded"}, (415, "wrong_media_type")),
        (gzip.compress(b"{}", mtime=0), {"Content-Encoding": "gzip"}, (415, "wrong_media_type")),
        (b'{"post_id": "a", "text": "b"}', {"Idempotency-Key": "x" * 256}, (422, "wrong_fields")),
    ],
)
async def test_a_body_that_is_no_post_says_what_would_be_right(
    api: Api, body: bytes, headers: dict[str, str], refused: tuple[int, str]
) -> None:
    given = {"Content-Type": "application/json", **headers}
    async with api.caller() as http, http.post("/v1/posts", data=body, headers=given) as answer:
        assert await problem(answer) == refused


async def test_a_body_over_the_bound_is_refused_before_it_is_read(api: Api) -> None:
    limit = api.context.settings.kafka.max_message_bytes
    async with api.caller() as http:
        large = io.BytesIO(json.dumps({"post_id": "p", "text": "x" * limit}).encode())
        async with http.post("/v1/posts", data=large, headers={"Content-Type": "application/json"}) as answer:
            assert await problem(answer) == (413, "too_large")

        sent = 0

        async def endless() -> AsyncIterator[bytes]:  # no Content-Length tells how long it will be
            nonlocal sent
            while sent < 4 * limit:
                sent += MIB
                yield b" " * MIB

        async with http.post("/v1/posts", data=endless(), headers={"Content-Type": "application/json"}) as answer:
            assert await problem(answer) == (413, "too_large")
        assert sent < 4 * limit
        async with http.get("/v1/verdicts") as answer:
            assert answer.status == 200


@pytest.mark.parametrize("path", ["/v1/posts", "/v1/moderations"])
async def test_an_image_over_5_mib_is_refused(api: Api, path: str) -> None:
    data = base64.b64encode(b"\0" * (5 * MIB + 1)).decode()
    bodies_of = {
        "/v1/posts": {"post_id": "p", "images": [{"data": data}]},
        "/v1/moderations": {"input": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}]},
    }
    body = io.BytesIO(json.dumps(bodies_of[path]).encode())
    given = {"Content-Type": "application/json"}
    async with api.caller() as http, http.post(path, data=body, headers=given) as answer:
        assert await problem(answer) == (413, "too_large")


async def test_a_body_that_dribbles_in_is_refused_and_its_connection_closed(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "WITHIN_S", 0.2)
    host, port = api.address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/posts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n"
    writer.write(f'{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"post_id"'.encode())
    answer = (await reader.read()).decode()  # to the end: the other side closes
    writer.close()
    assert answer.startswith("HTTP/1.1 408")
    assert "urn:moderation:problem:slow_body" in answer
    assert api.context.slots._free == api.context.settings.console.max_in_flight


async def test_slow_bodies_of_one_key_keep_no_post_from_being_judged(api: Api) -> None:
    most = api.context.settings.console.max_in_flight
    host, port = api.address.removeprefix("http://").split(":")
    head = f"POST /v1/posts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
    slow = [await asyncio.open_connection(host, int(port)) for _ in range(most)]
    for reader, writer in slow:
        writer.write(head.encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 100")  # its body is being read
    async with api.caller() as http, http.post("/v1/posts", json=POST) as answer:
        assert await problem(answer) == (503, "full")  # this key's next
    async with api.caller(await api.new_key("judge")) as http, http.post("/v1/posts", json=POST) as answer:
        assert answer.status == 200
    for _, writer in slow:
        writer.close()


@pytest.mark.parametrize("sent", [b"", b"GET /v1/verdicts HTTP/1.1\r\nHost: x\r\nX-"])
async def test_a_head_that_does_not_come_closes_its_connection(
    quiet_api: Api, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(server, "HEADER_TIMEOUT_S", 0.2)
    reader, writer = await asyncio.open_connection(*quiet_api.address.removeprefix("http://").split(":"))
    writer.write(sent)
    assert await reader.read() == b""
    writer.close()


async def test_a_head_in_two_pieces_behind_another_request_is_answered(quiet_api: Api) -> None:
    reader, writer = await asyncio.open_connection(*quiet_api.address.removeprefix("http://").split(":"))
    head = f"GET /v1/verdicts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {quiet_api.key}\r\n".encode()
    writer.write(head + b"\r\n" + head[:30])
    await reader.readuntil(b'"next_before":null}')
    writer.write(head[30:] + b"Connection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_a_full_house_is_told_to_come_again_before_any_of_its_body_is_read(api: Api) -> None:
    with ExitStack() as held:
        for _ in range(api.context.settings.console.max_in_flight):
            held.enter_context(seat(api.context))

        async def never() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.Event().wait()

        async with api.caller() as http:
            given = {"Content-Type": "application/json"}
            async with http.post("/v1/posts", data=never(), headers=given) as answer:
                assert await problem(answer) == (503, "full")
                assert int(answer.headers["Retry-After"]) >= 1
    async with api.caller() as http, http.post("/v1/posts", json=POST) as answer:
        assert answer.status == 200


async def test_where_judging_is_off_a_post_is_refused_and_looking_up_is_not(quiet_api: Api) -> None:
    async with quiet_api.caller() as http:
        async with http.post("/v1/posts", json=POST) as answer:
            assert await problem(answer) == (503, "judging_off")
        async with http.get("/v1/verdicts") as answer:
            assert answer.status == 200


async def test_until_the_model_is_loaded_callers_are_told_to_come_again(
    database: AsyncEngine, database_url: str
) -> None:
    async with (
        running(database, console_settings(database_url, judging_backend="local")) as loading,
        loading.caller() as http,
        http.post("/v1/posts", json=POST) as answer,
    ):
        assert await problem(answer) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) >= 1


async def test_a_post_that_takes_too_long_is_given_up(
    database: AsyncEngine, database_url: str, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(judge, "judge", stuck)
    settings = console_settings(database_url, judging_backend="local", judge_timeout_s=0.1)
    async with (
        running(database, settings, judge) as api,
        api.caller() as http,
        http.post("/v1/posts", json=POST) as answer,
    ):
        assert await problem(answer) == (503, "unavailable")
        assert "Retry-After" in answer.headers


async def test_a_bug_is_a_500_and_its_words_stay_out_of_answer_and_log(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(api.context.judge, "judge", broken)
    with capture_logs() as logged:
        async with api.caller() as http, http.post("/v1/posts", json=POST) as answer:
            assert await problem(answer) == (500, "internal")
            assert SECRET not in await answer.text()
    assert SECRET not in str(logged)
    assert [line["error"] for line in logged if line["event"] == "a request failed"] == ["RuntimeError"]


async def test_a_key_that_asks_too_often_is_told_when_to_come_again(database: AsyncEngine, database_url: str) -> None:
    async with running(database, console_settings(database_url, requests_per_minute=3)) as api, api.caller() as http:
        left = []
        for _ in range(3):
            async with http.get("/v1/verdicts") as answer:
                assert answer.status == 200
                assert answer.headers["RateLimit-Policy"] == '"key";q=3;w=60'
                left.append(answer.headers["RateLimit"].split(";")[1])
        assert left == ["r=2", "r=1", "r=0"]
        async with http.get("/v1/verdicts") as answer:
            assert await problem(answer) == (429, "too_many")
            assert 1 <= int(answer.headers["Retry-After"]) <= 20
        async with api.caller(await api.new_key("read")) as other, other.get("/v1/verdicts") as answer:
            assert answer.status == 200


async def test_a_database_that_is_away_is_a_503(quiet_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> Any:
        raise ConnectionRefusedError

    monkeypatch.setattr(type(quiet_api.context.database), "connect", refused)
    async with quiet_api.caller() as http, http.get("/v1/verdicts") as answer:
        assert await problem(answer) == (503, "unavailable")


@pytest.mark.parametrize(
    "address",
    ["file:///etc/passwd", "FILE:a.png", " file:../a.png"],
)
@pytest.mark.parametrize("path", ["/v1/posts", "/v1/moderations"])
async def test_a_callers_file_address_is_refused_whatever_the_settings_allow(api: Api, path: str, address: str) -> None:
    bodies_of = {
        "/v1/posts": {"post_id": "p", "images": [{"url": address}]},
        "/v1/moderations": {"input": [{"type": "image_url", "image_url": {"url": address}}]},
    }
    async with api.caller() as http, http.post(path, json=bodies_of[path]) as answer:
        assert await problem(answer) == (422, "not_judgeable")


async def test_addresses_inside_are_not_dialled_by_number_or_by_name(api: Api) -> None:
    asked: list[str] = []

    def inside(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=base64.b64decode(make_image()))

    async with serving("127.0.0.1", inside) as port:
        addresses = [
            f"http://127.0.0.1:{port}/a.png",
            f"https://127.0.0.1:{port}/a.png",
            f"https://localhost:{port}/a.png",
            "https://localhost/a.png",
            "https://[::1]/a.png",
            "https://2130706433/a.png",
            "https://169.254.169.254/latest/meta-data/",
            "gopher://127.0.0.1/",
            "https://user:password@127.0.0.1/",
        ]
        with capture_logs() as logged:
            async with api.caller() as http:
                for address in addresses:
                    part = {"type": "image_url", "image_url": {"url": address}}
                    async with http.post("/v1/moderations", json={"input": [part]}) as answer:
                        (found,) = (await answer.json())["results"]
                        assert (found["flagged"], found["decision"]) == (True, "abstain")
                    post = {"post_id": "p", "text": SECRET, "images": [{"url": address}]}
                    async with http.post("/v1/posts", json=post) as answer:
                        (image,) = (await answer.json())["content"]["images"]
                        assert image["status"] in {"refused", "unavailable"}, address
    assert asked == []
    assert SECRET not in str(logged)
    assert "127.0.0.1" not in str(logged)
    told = [line["images"] for line in logged if line["event"] == "request"]
    assert len(told) == 2 * len(addresses)
    assert told.count({"refused": 1}) > len(addresses)


async def test_a_redirect_or_a_name_that_leads_inside_is_not_followed(
    database: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lookup(_: str, port: int) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", port))]

    monkeypatch.setattr(dns_cache, "_lookup", lookup)
    asked: list[str] = []

    def inside(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=base64.b64decode(make_image()))

    async with serving("127.0.0.2", inside) as inner:

        def outside(request: web.Request) -> web.Response:
            if request.path == "/there.png":
                return web.Response(body=base64.b64decode(make_image()))
            return web.Response(status=302, headers={"Location": f"http://127.0.0.2:{inner}/a.png"})

        async with serving("127.0.0.1", outside) as outer:
            # 127.0.0.1 stands for the public web here, and 127.0.0.2 is inside all the same
            media = MediaSettings(
                allowed_schemes=frozenset({"http"}),
                allowed_ports=frozenset({outer, inner}),
                allowed_networks=frozenset({ip_network("127.0.0.1/32")}),
            )
            addresses = {
                f"http://127.0.0.1:{outer}/there.png": "judged",
                f"http://127.0.0.1:{outer}/moved.png": "refused",
                f"http://evil.example:{inner}/a.png": "refused",
            }
            settings = console_settings(database_url, judging_backend="local")
            async with (
                open_judge(Settings(media=media), shipped_pack()) as judge,
                running(database, settings, judge) as api,
                api.caller() as http,
            ):
                for address, status in addresses.items():
                    async with http.post("/v1/posts", json={"post_id": "p", "images": [{"url": address}]}) as answer:
                        (image,) = (await answer.json())["content"]["images"]
                        assert image["status"] == status, address
    assert asked == []
