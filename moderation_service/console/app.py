"""The console as one ASGI application: probes, API and pages. Its metrics are on a port of their own."""

import asyncio

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from moderation_service.console.accounts.guard import reader
from moderation_service.console.accounts.login import account_routes
from moderation_service.console.api.routes import api_routes
from moderation_service.console.context import ConsoleContext, context_of
from moderation_service.console.middleware import ErrorPages, ResponseHeaders, TrustedProxies, error_page
from moderation_service.console.pages import (
    audit_export,
    audits,
    banks,
    case,
    child_safety,
    overview,
    policies,
    quality,
    queue,
    tryout,
    verdict,
)
from moderation_service.console.pages.render import HERE, choose_preferences

_DATABASE_TIMEOUT_S = 5.0
_KEPT = "public, max-age=31536000, immutable"  # their addresses change with them


def build(context: ConsoleContext) -> Starlette:
    """All routes. Probes need no login and no key."""
    probes = (Route("/livez", _alive), Route("/startupz", _alive), Route("/readyz", _ready))
    app = Starlette(
        routes=[*probes, *api_routes(), *page_routes()],
        middleware=[
            Middleware(TrustedProxies, proxies=context.settings.console.trusted_proxies),
            Middleware(ResponseHeaders),
            Middleware(ErrorPages),
        ],
        exception_handlers={HTTPException: error_page},
    )
    app.state.context = context
    return app


async def _alive(_: Request) -> JSONResponse:
    """The server starts once the database is open, and answers while the loop runs."""
    return JSONResponse({"ok": True, "reasons": []})


async def _ready(request: Request) -> JSONResponse:
    """Ready while the database answers.

    An outage of Kafka stands in `held` and takes no console away: what was read can still be reviewed.
    """
    context, reasons = context_of(request), []
    try:
        async with asyncio.timeout(_DATABASE_TIMEOUT_S), context.database.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except (SQLAlchemyError, OSError, TimeoutError):
        reasons.append("the database does not answer")
    held = sorted(context.held)
    return JSONResponse({"ok": not reasons, "reasons": reasons, "held": held}, status_code=503 if reasons else 200)


class _Assets(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = _KEPT
        return response


def page_routes() -> list[BaseRoute]:
    """Every page, what their forms send to, and what they load."""
    guarded, of_admins = reader(), reader("admin")
    of_banks, held = reader(permission="banks"), reader(permission="child_safety")
    one, held_one = "/verdicts/{verdict_id:path}", "/child-safety/{verdict_id:path}"
    return [
        Route("/", guarded(queue.show)),
        Route("/queue/next", guarded(queue.take_next), methods=["POST"]),
        Route("/queue/take/{verdict_id:path}", guarded(queue.take), methods=["POST"]),
        Route("/queue/release/{verdict_id:path}", guarded(queue.release), methods=["POST"]),
        Route("/audits/export/audits.jsonl", of_admins(audit_export.rows_as_lines)),
        Route("/audits/export/audits.csv", of_admins(audit_export.rows_as_table)),
        Route("/audits/export/strata.csv", of_admins(audit_export.strata_as_table)),
        Route("/audits/{verdict_id:path}/decide", guarded(audits.decide), methods=["POST"]),
        Route("/audits/{verdict_id:path}/pictures", guarded(audits.show_images), methods=["POST"]),
        Route("/reviews/{review_id:path}/undo", guarded(queue.undo), methods=["POST"]),
        Route("/verdicts", guarded(verdict.search)),
        Route(f"{one}/bank", of_banks(banks.add), methods=["POST"]),
        Route(f"{one}/decide", guarded(verdict.decide), methods=["POST"]),
        Route(f"{one}/pictures", guarded(verdict.show_images), methods=["POST"]),
        Route(one, guarded(verdict.show), name="verdict"),
        Route("/pictures/{position}", guarded(case.image)),
        Route("/child-safety", held(child_safety.show)),
        Route(f"{held_one}/pictures/{{position}}", held(child_safety.image)),
        Route(f"{held_one}/pictures", held(child_safety.show_images), methods=["POST"]),
        Route(f"{held_one}/decide", held(child_safety.decide), methods=["POST"]),
        Route(f"{held_one}/report", held(child_safety.report), methods=["POST"]),
        Route(held_one, held(child_safety.show_one), name="child_safety"),
        Route("/try", guarded(tryout.show)),
        Route("/try", reader(form_bytes=None)(tryout.judge), methods=["POST"]),
        Route("/policies", guarded(policies.show)),
        Route("/policies/reviews.jsonl", of_admins(policies.export_reviews)),
        Route("/policies/verdicts.jsonl", of_admins(policies.export_verdicts)),
        Route("/policies/{policy_id}", guarded(policies.show_one)),
        Route("/policies/{policy_id}/cases", guarded(policies.run_cases), methods=["POST"]),
        Route("/banks", guarded(banks.show)),
        Route("/banks/{bank}", guarded(banks.show_one)),
        Route("/banks/{bank}/entries/{entry_id}", guarded(banks.show_entry)),
        Route("/banks/{bank}/entries/{entry_id}/remove", of_banks(banks.remove), methods=["POST"]),
        Route("/banks/{bank}/entries/{entry_id}/review", of_banks(banks.send_to_review), methods=["POST"]),
        Route("/quality", guarded(quality.QualityPage().show)),
        Route("/overview", guarded(overview.Overview().show)),
        Route("/preferences", choose_preferences),
        *account_routes(),
        Mount("/static", _Assets(directory=HERE / "static")),
    ]
