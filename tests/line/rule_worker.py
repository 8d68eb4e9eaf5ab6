"""`moderation run` with an engine of rules instead of a model: `python -m tests.line.rule_worker`."""

import asyncio

from moderation_service.app import compose, service
from moderation_service.settings import load_settings
from moderation_service.telemetry import logs
from tests.judging.engines import RuleEngine


def main() -> None:
    settings = load_settings()
    logs.configure(settings.logging)
    compose.engine_class = lambda _: lambda _: RuleEngine()  # type: ignore[assignment, return-value]
    asyncio.run(service.run(settings))


if __name__ == "__main__":
    main()
