"""Entries to the audit topic. One that can't be written is logged whole, and holds nothing up."""

import asyncio

import structlog

from moderation_service.kafka.topic_io import audit_record, publish
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry.audit import AuditEntry

WITHIN_S = 10.0

log = structlog.get_logger(__name__)


async def tell(settings: KafkaSettings, entry: AuditEntry) -> None:
    """Write an entry, acknowledged by all in-sync replicas."""
    try:
        async with asyncio.timeout(WITHIN_S):
            await publish(settings, [audit_record(settings, entry)])
    except Exception as error:  # noqa: BLE001 - whatever it is, what was done is done
        why = f"{type(error).__name__}: {error}"[:300]
        log.error("an audit entry could not be written", error=why, entry=entry.model_dump(mode="json"))  # noqa: TRY400
