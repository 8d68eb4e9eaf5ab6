"""The list of routes."""

from starlette.routing import BaseRoute


def api_routes() -> list[BaseRoute]:
    """None yet."""
    return []
