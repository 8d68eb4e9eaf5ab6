"""Before every page: who asks, whether they may, and whether it is our own page that sends their form."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable
from functools import wraps
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from moderation_service.console.accounts.sessions import Session, session_of, token_of
from moderation_service.console.accounts.users import Permission, Role
from moderation_service.console.context import context_of

Endpoint = Callable[[Request], Awaitable[Response]]

_READS = frozenset({"GET", "HEAD"})
_FORM = "application/x-www-form-urlencoded"
_FORM_BYTES = 64 * 1024
_LENGTH = re.compile(r"[0-9]{1,12}")
_PAGE = re.compile(r"https?://[^/?#]{1,300}(?P<path>/[^?#]*)(?:\?(?P<query>[^#]*))?")
_LOCAL = re.compile(r"/(?![/\\])[^\\\x00-\x20]*")


def reader(
    role: Role = "reviewer", *, permission: Permission | None = None, form_bytes: int | None = _FORM_BYTES
) -> Callable[[Endpoint], Endpoint]:
    """Let only those pass who are logged in, and with `admin` only admins; an admin may do what a reviewer may.

    A `permission` must have been given to the person by name: admins do not have it by their role.

    The endpoint finds the Session at `request.state.session`. Others are sent to the login page. What changes
    something is refused with 403 without the session's CSRF token, and with 413 over `form_bytes` (None: the
    endpoint bounds it).
    """

    def guarded(endpoint: Endpoint) -> Endpoint:
        @wraps(endpoint)
        async def answer(request: Request) -> Response:
            context = context_of(request)
            session = await session_of(context.database, token_of(request, context.settings.console))
            if session is None:
                return _to_login(request)
            request.state.session = session
            if role not in {"reviewer", session.role}:
                raise HTTPException(403, "this is for admins")
            if permission is not None and permission not in session.permissions:
                raise HTTPException(403, f"this needs the permission {permission}")
            if request.method not in _READS:
                length = length_of(request)
                if form_bytes is not None and (length is None or length > form_bytes):
                    raise HTTPException(413, f"a form should say its length, and have at most {form_bytes} bytes")
                await check_csrf(request)
            return await endpoint(request)

        return answer

    return guarded


def length_of(request: Request) -> int | None:
    """The bytes of a request's body; None where it does not say how many it has."""
    length = request.headers.get("content-length", "0")
    return int(length) if _LENGTH.fullmatch(length) and "transfer-encoding" not in request.headers else None


async def check_csrf(request: Request) -> None:
    """Raise HTTPException 403 without the token, as the header `X-CSRF-Token` or the form's field `csrf_token`.

    Of a form only a small urlencoded one is read here: what carries more sends the header.
    """
    session: Session = request.state.session
    given = request.headers.get("x-csrf-token") or await _in_form(request)
    if not secrets.compare_digest(given.encode(), session.csrf_token.encode()):
        raise HTTPException(403, "the form is not of this session; load the page again")


def check_same_site(request: Request) -> None:
    """Raise HTTPException 403 where a browser says that another site sends this form: there is no session to ask."""
    origin = request.headers.get("origin")
    elsewhere = origin is not None and origin.partition("://")[2] != request.headers.get("host")
    if elsewhere or request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise HTTPException(403, "another site sent this form")


def seal(request: Request, what: str) -> str:
    """What nobody can make who has not this session: it ends with it, and is of one thing alone."""
    session: Session = request.state.session
    return hmac.new(session.csrf_token.encode(), what.encode(), hashlib.sha256).hexdigest()


def is_sealed(request: Request, what: str) -> bool:
    """Whether the address has this session's seal of it."""
    return hmac.compare_digest(request.query_params.get("seal", "").encode(), seal(request, what).encode())


def local(address: str) -> str:
    """An address to go on to, if it is a path of ours; else the first page."""
    return address if _LOCAL.fullmatch(address) else "/"


async def _in_form(request: Request) -> str:
    length = length_of(request)
    if length is None or length > _FORM_BYTES or request.headers.get("content-type", "").partition(";")[0] != _FORM:
        return ""
    given = (await request.form()).get("csrf_token")
    return given if isinstance(given, str) else ""


def _to_login(request: Request) -> Response:
    if request.headers.get("hx-request") == "true":  # htmx follows this header, not a redirect
        page = _PAGE.match(request.headers.get("hx-current-url", ""))
        return Response(
            status_code=401, headers={"HX-Redirect": _login(*page.group("path", "query")) if page else "/login"}
        )
    address = (request.url.path, request.url.query) if request.method in _READS else ("/", "")
    return RedirectResponse(_login(*address), status_code=303)


def _login(path: str, query: str | None) -> str:
    return f"/login?next={quote(local(f'{path}?{query}' if query else path), safe='/')}"
