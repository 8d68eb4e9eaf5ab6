"""The console as one ASGI application: pages, API, probes."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from moderation_service.console.api.routes import api_routes
from moderation_service.console.context import ConsoleContext
from moderation_service.console.failures import Failures
from moderation_service.console.headers import Headers
from moderation_service.console.pages.error_pages import trouble
from moderation_service.console.pages.routes import page_routes
from moderation_service.console.probes import probe_routes
from moderation_service.console.proxies import TrustedProxies


def build(parts: ConsoleContext) -> Starlette:
    """All routes, on these parts."""
    app = Starlette(
        routes=[*probe_routes(), *api_routes(), *page_routes()],
        middleware=[
            Middleware(TrustedProxies, proxies=parts.settings.console.trusted_proxies),
            Middleware(Headers),
            Middleware(Failures),
        ],
        exception_handlers={HTTPException: trouble},
    )
    app.state.parts = parts
    return app
