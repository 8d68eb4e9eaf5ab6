"""Whatever a request holds, no answer is a failure, and every answer has the headers that it should have."""

import asyncio
from urllib.parse import quote

import pytest

from moderation_service.console.accounts import login
from moderation_service.console.accounts.throttle import AT_ONCE
from moderation_service.console.context import ConsoleContext
from moderation_service.console.pages import queue
from tests.console.accounts.browser import PASSWORD, Browser, browser
from tests.console.support import served

ODD = ["a\0b\x1b0", "\ud800", "http://[", "9" * 5000, "²"]
FIELDS = [
    "decision",
    "policy_id",
    "post_id",
    "before",
    "attribution",
    "language",
    "abstain_reason",
    "why",
    "span",
    "pictures",
    "next",
]


def escaped(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")


async def test_no_query_and_no_path_makes_a_page_fail(context: ConsoleContext) -> None:
    async with served(context) as address, browser(address) as at:
        await at.log_in("root")
        paths = []
        for odd in map(escaped, ODD):
            query = "&".join(f"{field}={odd}" for field in FIELDS)
            paths += [f"{page}?{query}" for page in ("/", "/verdicts", "/overview")]
            paths += [
                f"{page}/{odd}?{query}" for page in ("/verdicts", "/policies", "/pictures", "/static", "/v1/verdicts")
            ]
            paths.append(f"/pictures/0?verdict={odd}&seal={odd}")
        for path in paths:
            answer = await at.get(path)
            assert answer.status < 500, path[:100]
            assert answer.headers["Content-Security-Policy"]


async def test_no_form_makes_a_page_fail(context: ConsoleContext) -> None:
    async with served(context) as address, browser(address) as at:
        for odd in ODD:
            fields = {"user": odd, "password": odd, "next": odd}
            body = "&".join(f"{name}={escaped(value)}" for name, value in fields.items())
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            assert (await at.post("/login", data=body, headers=kind)).status in {400, 401, 413, 429}
        await at.log_in("ann")
        page = await (await at.get("/")).text()
        (token,) = {part.split('"')[0] for part in page.split('name="csrf_token" value="')[1:]} or {""}
        for odd in ODD:
            for path in ("/queue/next", f"/queue/take/{escaped(odd)}", f"/queue/release/{escaped(odd)}"):
                fields = {"csrf_token": token, "queue": f"decision={odd}", "then": odd}
                body = "&".join(f"{name}={escaped(value)}" for name, value in fields.items())
                answer = await at.post(f"{path}?decision={escaped(odd)}", data=body, headers=kind)
                assert answer.status < 500, path


@pytest.mark.parametrize("odd", ["http://[", "http://[::1", "//", "null", "http://" + "a" * 5000, "x://\x80@"])
async def test_no_header_makes_a_page_fail(context: ConsoleContext, odd: str) -> None:
    async with served(context) as address, browser(address) as at:
        headers = dict.fromkeys(("Origin", "HX-Current-URL", "X-CSRF-Token", "traceparent", "X-Forwarded-For"), odd)
        for path in ("/", "/login", "/verdicts/x"):
            for more in ({}, {"HX-Request": "true"}):
                assert (await at.get(path, headers={**headers, **more})).status < 500
                answer = await at.post(path, headers={**headers, **more})
                assert answer.status < 500
                assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_htmx_comes_back_to_its_page_after_the_login(context: ConsoleContext) -> None:
    async with served(context) as address, browser(address) as at:
        for url, back in {
            f"{address}/verdicts?decision=block#x": "/login?next=/verdicts%3Fdecision%3Dblock",
            f"{address}//evil.example": "/login?next=/",
            "http://[": "/login",
        }.items():
            answer = await at.get("/", headers={"HX-Request": "true", "HX-Current-URL": url})
            assert (answer.status, answer.headers["HX-Redirect"]) == (401, back)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_page_that_fails_says_so_under_the_same_headers(
    context: ConsoleContext, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def broken(*_: object, **__: object) -> None:
        message = "secret"
        raise ValueError(message)

    async with served(context) as address, browser(address) as at:
        await at.log_in()
        monkeypatch.setattr(queue.queue, "listed", broken)
        answer = await at.get("/")
        assert answer.status == 500
        assert "That did not work." in await answer.text()
        assert answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Request-ID"]
    assert "secret" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_flood_of_logins_is_refused_before_any_password_is_looked_at(
    at: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_hand, most, full = 0, 0, asyncio.Event()

    async def known(*_: object) -> bool:
        nonlocal in_hand, most
        in_hand += 1
        most = max(most, in_hand)
        await full.wait()
        in_hand -= 1
        return False

    monkeypatch.setattr(login, "known", known)
    flood = [asyncio.create_task(at.log_in(f"user-{number}", "wrong")) for number in range(40)]
    refused = 0
    for answer in asyncio.as_completed(flood):
        found = await answer
        if found.status == 429:
            refused += 1
            assert found.headers["Retry-After"] == "1"
        if refused == 40 - AT_ONCE:
            full.set()
    assert (refused, most) == (40 - AT_ONCE, AT_ONCE)
    monkeypatch.undo()
    assert (await at.log_in("ann", PASSWORD)).status == 303
