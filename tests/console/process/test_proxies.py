"""A caller's address: of a trusted proxy's word what can be believed, and of nobody else's."""

from ipaddress import ip_network

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from moderation_service.console.middleware import TrustedProxies
from moderation_service.console.server import serving


async def seen(proxies: str, *forwarded: str) -> str:
    async def whose(request: Request) -> PlainTextResponse:
        assert request.client
        return PlainTextResponse(request.client.host)

    trusted = frozenset(map(ip_network, proxies.split()))
    app = Starlette(routes=[Route("/", whose)], middleware=[Middleware(TrustedProxies, proxies=trusted)])
    headers = [("X-Forwarded-For", one) for one in forwarded]
    async with (
        serving(app, "127.0.0.1", 0) as port,
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{port}/", headers=headers) as answer,
    ):
        return await answer.text()


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        ("127.0.0.1/32", ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),  # it adds what it saw behind what it was told
        ("127.0.0.1/32", ["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1/32 203.0.113.0/24", ["198.51.100.1, 203.0.113.7"], "198.51.100.1"),
        ("127.0.0.1/32", ["203.0.113.7:4711"], "203.0.113.7"),
        ("127.0.0.1/32", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("127.0.0.1/32", ["2001:DB8:0::7"], "2001:db8::7"),
        ("127.0.0.1/32", ["::ffff:203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1/32", ["127.0.0.1, " * 20 + "127.0.0.1"], "127.0.0.1"),
        ("127.0.0.1/32", [], "127.0.0.1"),
        ("10.0.0.0/8", ["203.0.113.7"], "127.0.0.1"),
        ("", ["203.0.113.7"], "127.0.0.1"),
        *(
            ("127.0.0.1/32", [f"203.0.113.7, {none}"], "127.0.0.1")
            for none in ("unknown", "1.2.3", "x" * 5000, "fe80::1%a")
        ),
    ],
)
async def test_a_callers_address_is_the_last_that_no_trusted_proxy_has(
    proxies: str, forwarded: list[str], address: str
) -> None:
    assert await seen(proxies, *forwarded) == address


async def test_no_word_is_taken_without_the_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    assert await seen("", "203.0.113.7") == "127.0.0.1"
