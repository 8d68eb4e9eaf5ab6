"""How long the group waits for one member that gives its partitions back."""

import pytest

from moderation_service.settings import KafkaSettings
from moderation_service.stream.worker import RebalanceListener
from moderation_service.telemetry.health import Health


class Closing:
    """A manager that remembers how long it was given."""

    def __init__(self, blocked_by: set[str]) -> None:
        self.blocked_by = blocked_by
        self.budgets: list[float] = []

    async def close(self, budget_s: float) -> None:
        self.budgets.append(budget_s)


@pytest.mark.parametrize(("blocked_by", "budget_s"), [(set[str](), 1.0), ({"engine"}, 0.0)])
async def test_a_member_finishes_what_is_nearly_done_unless_the_engine_finishes_nothing(
    blocked_by: set[str], budget_s: float
) -> None:
    manager = Closing(blocked_by)
    await RebalanceListener(KafkaSettings(), manager, Health()).on_partitions_revoked([])  # type: ignore[arg-type]
    assert manager.budgets == [budget_s]
