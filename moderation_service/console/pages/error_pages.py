"""What is refused, as a page."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from moderation_service.console.pages.render import language_of, page, translated

SAID = {
    403: ("That is not allowed.", "Load the page again; it may be of a session that is over."),
    404: ("There is nothing here.", "It never was, or it was erased."),
}
OTHER = ("That did not work.", "Nothing was changed.")


async def trouble(request: Request, refused: Exception) -> Response:
    """The page for an HTTPException."""
    status, headers = (refused.status_code, refused.headers) if isinstance(refused, HTTPException) else (500, None)
    title, text = map(translated(language_of(request)), SAID.get(status, OTHER))
    response = page(request, "trouble.html", status=status, title=title, text=text)
    response.headers.update(headers or {})
    return response
