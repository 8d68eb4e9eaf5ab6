"""The list of routes."""

from starlette.routing import BaseRoute


def page_routes() -> list[BaseRoute]:
    """None yet."""
    return []
