"""Language, colours and keys, kept in cookies of this browser."""

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from moderation_service.console.accounts.guard import local
from moderation_service.console.context import parts_of
from moderation_service.console.pages.render import LANGUAGES, THEMES

_YEAR_S = 365 * 24 * 3600
_CHOICES: dict[str, tuple[str, ...]] = {"language": LANGUAGES, "theme": THEMES, "keys": ("on", "off")}


async def choose(request: Request) -> Response:
    """Keep what was chosen, and go back."""
    response = RedirectResponse(local(request.query_params.get("next", "/")), status_code=303)
    options: dict[str, Any] = {
        "max_age": _YEAR_S,
        "samesite": "lax",
        "httponly": True,
        "secure": parts_of(request).settings.console.secure_cookies,
    }
    for name, choices in _CHOICES.items():
        if (chosen := request.query_params.get(name)) in choices:
            response.set_cookie(name, chosen, **options)
    return response
