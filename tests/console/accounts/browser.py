"""A browser at a small application: the real login, and pages behind the real guard."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from moderation_service.console.accounts.guard import reader
from moderation_service.console.accounts.login import account_routes
from moderation_service.console.context import ConsoleContext
from moderation_service.console.server import serving

PASSWORD = "correct horse battery"


class Browser:
    """Keeps its cookies, follows no redirect."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def get(self, path: str, **more: Any) -> aiohttp.ClientResponse:
        return await self._ask("GET", path, **more)

    async def post(self, path: str, **more: Any) -> aiohttp.ClientResponse:
        return await self._ask("POST", path, **more)

    async def log_in(self, user: str = "ann", password: str = PASSWORD, **more: Any) -> aiohttp.ClientResponse:
        return await self.post("/login", data={"user": user, "password": password, **more})

    async def csrf_token(self) -> str:
        """As the page has it."""
        return str((await (await self.get("/page")).json())["csrf_token"])

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self._http.cookie_jar}

    async def _ask(self, method: str, path: str, **more: Any) -> aiohttp.ClientResponse:
        async with self._http.request(method, path, allow_redirects=False, **more) as response:
            await response.read()
        return response


@asynccontextmanager
async def browser(address: str) -> AsyncIterator[Browser]:
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of an address in numbers too
    async with aiohttp.ClientSession(address, cookie_jar=jar) as http:
        yield Browser(http)


@asynccontextmanager
async def small_console(context: ConsoleContext) -> AsyncIterator[str]:
    """`/page` and `POST /change` for reviewers, `/admin` for admins; each tells the session."""

    async def tell(request: Request) -> Response:
        session = request.state.session
        form = dict(await request.form()) if request.method == "POST" else {}
        told = {"user": session.user, "role": session.role, "csrf_token": session.csrf_token, "form": form}
        return JSONResponse(told)

    app = Starlette(
        routes=[
            *account_routes(),
            Route("/page", reader()(tell)),
            Route("/admin", reader("admin")(tell)),
            Route("/change", reader()(tell), methods=["POST"]),
        ]
    )
    app.state.context = context
    async with serving(app, "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}"
