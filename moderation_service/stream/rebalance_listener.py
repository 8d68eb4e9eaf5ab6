"""Rebalance listener: opens assigned partitions, drains and closes revoked ones."""

from collections.abc import Iterable

import structlog
from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener

from moderation_service.settings import KafkaSettings
from moderation_service.stream.partition_manager import PartitionManager
from moderation_service.telemetry import metrics
from moderation_service.telemetry.health import Health

_log = structlog.get_logger(__name__)
TESTED_PARTITIONS = 200  # by `moderation bench partitions`: each has a producer, with connections of its own
_SHARE = 1 / 30  # of the rebalance timeout: the whole group waits while one member finishes


class RebalanceListener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Rebalances are eager: every one of them takes all partitions away and gives some back.

    aiokafka swallows what is raised here, and stops heartbeats while partitions are assigned: so processors open in the
    background, and nothing here can fail.
    """

    def __init__(self, settings: KafkaSettings, manager: PartitionManager, health: Health) -> None:
        """Not a member yet."""
        self._budget_s = min(settings.drain_timeout_s, settings.rebalance_timeout_s * _SHARE)
        self._manager = manager
        self._health = health

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Finish what is nearly done, leave the rest to the next owner; nothing is nearly done without the engine."""
        if names := _names(revoked):
            metrics.REBALANCES.labels("revoked").inc()
            _log.info("partitions revoked", partitions=names)
        await self._manager.close(0.0 if self._manager.engine_held else self._budget_s)
        metrics.ASSIGNED.set(0)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Open a processor for each."""
        partitions = sorted(assigned)
        metrics.REBALANCES.labels("assigned").inc()
        metrics.ASSIGNED.set(len(partitions))
        _log.info("partitions assigned", partitions=_names(partitions))
        if len(partitions) > TESTED_PARTITIONS:
            _log.warning(
                f"{len(partitions)} partitions on this worker; at most {TESTED_PARTITIONS} were tested: add workers"
            )
        self._manager.open(partitions)
        self._health.joined = True


def _names(partitions: Iterable[TopicPartition]) -> list[str]:
    return [f"{partition.topic}:{partition.partition}" for partition in sorted(partitions)]
