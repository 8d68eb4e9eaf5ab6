"""Entries of the audit topic as records: the same headers, whoever writes them."""

from moderation_service.contracts.envelope import event_headers
from moderation_service.kafka.topic_io import Record
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry.audit import Entry


def audit_record(settings: KafkaSettings, entry: Entry) -> Record:
    """The record, a CloudEvent whose id is the entry's and whose subject is what was done something to."""
    headers = event_headers("audit", entry.audit_id, entry.target, entry.at)
    return Record(settings.audit_topic, entry.action.encode(), entry.model_dump_json().encode(), headers)
