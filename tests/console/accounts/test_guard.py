"""The guard: roles, the CSRF token, and no page without it."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.routing import Route

from moderation_service.console.app import page_routes
from moderation_service.console.context import ConsoleContext
from tests.console.accounts.browser import Browser, browser
from tests.console.support import served

OPEN = {"/login", "/preferences"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def test_every_page_asks_who_it_is(context: ConsoleContext) -> None:
    pages = [route for route in page_routes() if isinstance(route, Route) and route.path not in OPEN]
    assert len(pages) > 5
    async with served(context) as address, browser(address) as at:
        for page in pages:
            path = re.sub(r"\{\w+:(?:int|position)\}", "1", page.path)
            path = re.sub(r"\{[^}]*\}", "x", path)
            for method in (page.methods or set()) - {"HEAD"}:
                answer = await (at.get(path) if method == "GET" else at.post(path))
                assert answer.status == 303, f"{method} {path}"
                assert answer.headers["location"].startswith("/login?next=")


async def test_what_is_for_admins_is_not_for_reviewers(at: Browser) -> None:
    await at.log_in()
    assert (await at.get("/admin")).status == 403
    await at.log_in("root")
    assert (await at.get("/admin")).status == 200
    assert (await at.get("/page")).status == 200


@pytest.mark.parametrize("token", [None, "", "wrong", "名"])
async def test_a_change_without_the_sessions_token_is_refused(at: Browser, token: str | None) -> None:
    await at.log_in()
    fields = {} if token is None else {"csrf_token": token}
    assert (await at.post("/change", data=fields)).status == 403
    header = {} if token is None else {"X-CSRF-Token": token}
    assert (await at.post("/change", headers=header)).status == 403


async def test_another_sessions_token_is_refused(at: Browser, address: str) -> None:
    await at.log_in()
    async with browser(address) as other:
        await other.log_in("root")
        stolen = await other.csrf_token()
    assert (await at.post("/change", data={"csrf_token": stolen})).status == 403


async def test_a_change_with_the_token_passes_and_the_form_is_whole(at: Browser) -> None:
    await at.log_in()
    token = await at.csrf_token()
    answer = await at.post("/change", data={"csrf_token": token, "x": "1"})
    assert (await answer.json())["form"] == {"csrf_token": token, "x": "1"}
    answer = await at.post("/change", data={"x": "1"}, headers={"X-CSRF-Token": token})
    assert (await answer.json())["form"] == {"x": "1"}


async def test_every_session_has_tokens_of_its_own(at: Browser) -> None:
    seen = []
    for _ in range(3):
        await at.log_in()
        seen += [at.cookies["session"], await at.csrf_token()]
    assert len(set(seen)) == 6


async def _in_chunks() -> AsyncIterator[bytes]:
    yield b"a=b"


@pytest.mark.parametrize("body", [b"%zz" * 30_000, _in_chunks])
async def test_a_form_that_is_large_or_of_unknown_length_is_refused_unread(at: Browser, body: Any) -> None:
    await at.log_in()
    headers = {"X-CSRF-Token": await at.csrf_token(), **FORM}
    answer = await at.post("/change", headers=headers, data=body() if callable(body) else body)
    assert answer.status == 413
