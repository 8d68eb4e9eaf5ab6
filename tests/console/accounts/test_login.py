"""Logging in: cookies, where it leads, what is refused, and what is on record."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from moderation_service.console.accounts import users
from moderation_service.console.accounts.guard import local
from moderation_service.console.accounts.throttle import PAIR
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store.tables import outbox, sessions
from moderation_service.telemetry.audit import AuditEntry
from tests.console.accounts.browser import PASSWORD, Browser, browser, small_console
from tests.console.accounts.test_users import disable

LOGIN = {"user": "ann", "password": PASSWORD}


async def told(context: ConsoleContext, action: str) -> list[AuditEntry]:
    async with context.database.connect() as connection:
        rows = (await connection.execute(select(outbox.c.value).order_by(outbox.c.number))).scalars()
        entries = [AuditEntry.model_validate_json(value) for value in rows]
    return [entry for entry in entries if entry.action == action]


async def test_who_is_not_logged_in_is_sent_to_log_in_and_then_back(at: Browser) -> None:
    refused = await at.get("/page?a=1&b=2")
    assert (refused.status, refused.headers["location"]) == (303, "/login?next=/page%3Fa%3D1%26b%3D2")
    form = await at.get(refused.headers["location"])
    assert form.status == 200
    assert 'value="/page?a=1&amp;b=2"' in await form.text()
    entered = await at.log_in(next="/page?a=1&b=2")
    assert (entered.status, entered.headers["location"]) == (303, "/page?a=1&b=2")
    page = await at.get("/page")
    assert (page.status, (await page.json())["user"], (await page.json())["role"]) == (200, "ann", "reviewer")


async def test_a_part_of_a_page_leads_the_whole_page_to_log_in(at: Browser) -> None:
    here = {"HX-Request": "true", "HX-Current-URL": "http://console.example/page?q=1"}
    refused = await at.get("/page", headers=here)
    assert (refused.status, refused.headers["hx-redirect"]) == (401, "/login?next=/page%3Fq%3D1")


async def test_a_change_by_who_is_not_logged_in_leads_to_the_first_page(at: Browser) -> None:
    refused = await at.post("/change", data={"x": "1"})
    assert (refused.status, refused.headers["location"]) == (303, "/login?next=/")


@pytest.mark.parametrize("secure", [True, False], ids=["https", "http"])
async def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(
    context: ConsoleContext, *, secure: bool
) -> None:
    console = context.settings.console.model_copy(update={"secure_cookies": secure, "session_hours": 2.0})
    context.settings = context.settings.model_copy(update={"console": console})
    async with small_console(context) as address, browser(address) as at:
        cookie, *flags = (await at.log_in()).headers["set-cookie"].split("; ")
    name, _, token = cookie.partition("=")
    assert name == ("__Host-session" if secure else "session")
    assert len(token) >= 43
    wanted = {"httponly", "path=/", "samesite=lax", "max-age=7200"} | ({"secure"} if secure else set())
    assert {flag.lower() for flag in flags} == wanted


async def test_of_a_session_only_the_digest_of_its_token_is_kept(context: ConsoleContext, at: Browser) -> None:
    await at.log_in()
    async with context.database.connect() as connection:
        (row,) = (await connection.execute(select(sessions))).all()
    assert at.cookies["session"] not in str(row)


async def test_another_login_ends_the_session_that_the_browser_had(at: Browser, address: str) -> None:
    await at.log_in()
    before = at.cookies["session"]
    await at.log_in("root")
    assert at.cookies["session"] != before
    async with browser(address) as thief:
        assert (await thief.get("/page", cookies={"session": before})).status == 303


async def test_a_session_ends_after_its_hours(context: ConsoleContext, at: Browser) -> None:
    await at.log_in()
    assert (await at.get("/page")).status == 200
    async with context.database.begin() as connection:
        await connection.execute(update(sessions).values(expires_at=sessions.c.created_at))
    assert (await at.get("/page")).status == 303
    await at.log_in("root")
    async with context.database.connect() as connection:
        assert len((await connection.execute(select(sessions))).all()) == 1, "what is over is not kept"


async def test_a_disabled_user_is_out_at_once_and_can_not_come_in(context: ConsoleContext, at: Browser) -> None:
    await at.log_in()
    await disable(context, "ann")
    assert (await at.get("/page")).status == 303
    assert (await at.log_in()).status == 401


async def test_logging_out_ends_the_session_not_just_the_cookie(at: Browser, address: str) -> None:
    await at.log_in()
    token = at.cookies["session"]
    assert (await at.post("/logout", data={"csrf_token": "wrong"})).status == 403
    left = await at.post("/logout", data={"csrf_token": await at.csrf_token()})
    assert (left.status, left.headers["location"]) == (303, "/login")
    assert "session" not in at.cookies
    async with browser(address) as thief:
        assert (await thief.get("/page", cookies={"session": token})).status == 303


@pytest.mark.parametrize(
    ("user", "password"), [("ann", "no-such-password"), ("nobody", PASSWORD), ("", ""), ("ann", "")]
)
async def test_a_wrong_login_says_the_same_whatever_is_wrong(at: Browser, user: str, password: str) -> None:
    with capture_logs() as logged:
        refused = await at.log_in(user, password)
    assert refused.status == 401
    assert "The user or the password is wrong." in await refused.text()
    assert at.cookies == {}
    (line,) = (line for line in logged if line["event"] == "login refused")
    assert (line["reason"], line["address"]) == ("wrong", "127.0.0.1")
    assert not password or password not in str(logged)


async def test_after_a_few_guesses_even_the_right_password_waits_and_it_is_on_record_once(
    context: ConsoleContext, at: Browser
) -> None:
    for _ in range(PAIR):
        assert (await at.log_in(password="wrong")).status == 401
    for _ in range(2):
        refused = await at.log_in()
        assert refused.status == 429
        assert 0 < int(refused.headers["retry-after"]) <= 300
        assert "Too many attempts." in await refused.text()
    assert (await at.log_in("root")).status == 303
    (entry,) = await told(context, "login.throttled")
    assert (entry.actor, entry.target) == ("address:127.0.0.1", "ann")


async def test_while_throttled_no_password_is_looked_at(at: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    real = users._is_right
    monkeypatch.setattr(users, "_is_right", lambda *given: looked.append(given) or real(*given))
    await asyncio.gather(*(at.log_in(password=f"wrong{number}") for number in range(3 * PAIR)))
    assert len(looked) == PAIR


async def test_a_name_that_is_nobodys_is_not_on_record(context: ConsoleContext, at: Browser) -> None:
    for _ in range(PAIR):
        await at.log_in("my secret, in the wrong field", "wrong")
    (entry,) = await told(context, "login.throttled")
    assert entry.target == "nobody"


async def test_a_login_is_on_record(context: ConsoleContext, at: Browser) -> None:
    await at.log_in()
    (entry,) = await told(context, "user.logged_in")
    assert (entry.actor, entry.target) == ("reviewer:ann", "ann")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_another_site_can_not_log_a_browser_in(at: Browser, headers: dict[str, str]) -> None:
    assert (await at.post("/login", data=LOGIN, headers=headers)).status == 403
    assert at.cookies == {}


async def test_our_own_page_can(at: Browser, address: str) -> None:
    ours = {"Origin": address, "Sec-Fetch-Site": "same-origin"}
    assert (await at.post("/login", data=LOGIN, headers=ours)).status == 303


@pytest.mark.parametrize(
    ("given", "leads_to"),
    [
        ("/verdicts?post_id=a%20b", "/verdicts?post_id=a%20b"),
        ("/", "/"),
        ("", "/"),
        ("https://evil.example", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("\\\\evil.example", "/"),
        ("/a\r\nSet-Cookie: x=1", "/"),
        ("/\t/evil.example", "/"),
        ("javascript:alert(1)", "/"),
    ],
)
async def test_a_login_leads_to_a_page_of_ours_alone(at: Browser, given: str, leads_to: str) -> None:
    assert local(given) == leads_to
    assert (await at.log_in(next=given)).headers["location"] == leads_to


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"user=ann&password=" + b"x" * 10_000, 413),
        (b"&".join(b"f%d=1" % number for number in range(9)), 400),
        (b"user=%ff%fe&password=x", 400),
        (b"\xff\xfe", 400),
        (b"", 401),
        (b"{}", 401),
    ],
)
async def test_a_form_that_is_none_is_refused(at: Browser, body: bytes, status: int) -> None:
    given: Any = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await at.post("/login", data=body, headers=given)).status == status


async def test_a_form_that_does_not_come_is_not_waited_for(at: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moderation_service.console.accounts.login._FORM_S", 0.2)
    never = asyncio.Event()

    async def slow() -> Any:
        yield b"user=ann"
        await never.wait()

    assert (await at.post("/login", data=slow())).status == 408
