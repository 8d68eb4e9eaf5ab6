"""The list of routes."""

from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from moderation_service.console.accounts.guard import reader
from moderation_service.console.accounts.login import account_routes
from moderation_service.console.pages import case, overview, policies, queue, tryout, verdict
from moderation_service.console.pages.render import HERE, choose_preferences

_KEPT = "public, max-age=31536000, immutable"  # their addresses change with them


class _Assets(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = _KEPT
        return response


def page_routes() -> list[BaseRoute]:
    """Every page, what their forms send to, and what they load."""
    guarded, of_admins = reader(), reader("admin")
    one = "/verdicts/{verdict_id:path}"
    return [
        Route("/", guarded(queue.show)),
        Route("/queue/next", guarded(queue.take_next), methods=["POST"]),
        Route("/queue/take/{verdict_id:path}", guarded(queue.take), methods=["POST"]),
        Route("/queue/release/{verdict_id:path}", guarded(queue.release), methods=["POST"]),
        Route("/reviews/{review_id:path}/undo", guarded(queue.undo), methods=["POST"]),
        Route("/verdicts", guarded(verdict.search)),
        Route(f"{one}/decide", guarded(verdict.decide), methods=["POST"]),
        Route(f"{one}/pictures", guarded(verdict.show_images), methods=["POST"]),
        Route(one, guarded(verdict.show), name="verdict"),
        Route("/pictures/{position}", guarded(case.image)),
        Route("/try", guarded(tryout.show)),
        Route("/try", reader(form_bytes=None)(tryout.judge), methods=["POST"]),
        Route("/policies", guarded(policies.show)),
        Route("/policies/reviews.jsonl", of_admins(policies.export_reviews)),
        Route("/policies/verdicts.jsonl", of_admins(policies.export_verdicts)),
        Route("/policies/{policy_id}", guarded(policies.show_one)),
        Route("/policies/{policy_id}/cases", guarded(policies.run_cases), methods=["POST"]),
        Route("/overview", guarded(overview.Overview().show)),
        Route("/preferences", choose_preferences),
        *account_routes(),
        Mount("/static", _Assets(directory=HERE / "static")),
    ]
