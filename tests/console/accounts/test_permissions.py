"""The permission `child_safety`: a right of people and of keys that no role and no other scope includes."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from moderation_service.console.accounts import api_keys, users
from moderation_service.console.accounts.guard import reader
from moderation_service.console.accounts.login import account_routes
from moderation_service.console.context import ConsoleContext
from moderation_service.console.server import serving
from moderation_service.settings import KafkaSettings
from tests.console.accounts.browser import PASSWORD, browser


@pytest.mark.parametrize(("user", "status"), [("ann", 403), ("root", 403), ("eve", 200)])
async def test_a_page_for_a_permission_is_open_to_those_alone_who_were_given_it(
    context: ConsoleContext, user: str, status: int
) -> None:
    async def page(_: Request) -> Response:
        return PlainTextResponse("held")

    kafka = KafkaSettings()
    given = {"role": "reviewer", "actor": "user:test", "permissions": ["child_safety"]}
    await users.add(context.database, kafka, "eve", PASSWORD, **given)  # type: ignore[arg-type]
    permissions = {one.name: one.permissions for one in await users.listed(context.database)}
    assert permissions == {"ann": (), "root": (), "eve": ("child_safety",)}
    app = Starlette(routes=[*account_routes(), Route("/held", reader(permission="child_safety")(page))])
    app.state.context = context
    async with serving(app, "127.0.0.1", 0) as port, browser(f"http://127.0.0.1:{port}") as at:
        assert (await at.get("/held")).status == 303
        await at.log_in(user)
        assert (await at.get("/held")).status == status


async def test_a_key_for_everything_is_not_for_child_safety(context: ConsoleContext) -> None:
    made = [
        await api_keys.create(context.database, KafkaSettings(), "k", scopes, actor="user:test")
        for scopes in (["admin"], ["read", "child_safety"])
    ]
    admin, held = [await api_keys.check(context.database, key) for key in made]
    assert admin
    assert held
    assert (admin.may("read"), admin.may("child_safety")) == (True, False)
    assert (held.may("review"), held.may("child_safety")) == (False, True)
