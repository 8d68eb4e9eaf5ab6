"""The shipped policies' own cases, through the engine with the bundled model."""

import asyncio

from moderation_service.cli.policies import run_cases
from moderation_service.settings import Settings, shipped_policies

ALLOWED_DIFFERENCES = 1
"""0 is meant. The bundled model takes a pharmacy's medicine for a cure."""


def test_the_shipped_pack_passes_its_own_cases() -> None:
    results = asyncio.run(run_cases(Settings(), shipped_policies()))
    differ = [" | ".join(result.row()) for result in results if not result.as_expected]
    assert len(results) >= 70
    assert len(differ) <= ALLOWED_DIFFERENCES, "\n".join(differ)
