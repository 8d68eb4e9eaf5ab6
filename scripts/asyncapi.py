# ruff: noqa: INP001 - a script, and no package
"""AsyncAPI 3 of all topics, from the settings' defaults and the contracts; a page of `make reference`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from moderation_service import __version__
from moderation_service.contracts.schemas import CONTRACTS
from moderation_service.kafka.topics import wanted
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry.audit import AuditEntry

FILE = Path(__file__).parents[1] / "docs" / "reference" / "asyncapi.yaml"
_TOPICS = {  # by setting: contracts, whether the service reads and writes it, key, what its records are
    "input_topic": (
        ("post",),
        "receive",
        "post_id",
        "Posts to judge. A record without a value deletes the post. `kafka.priority_topics` take the same.",
    ),
    "output_topic": (
        ("verdict",),
        "send",
        "post_id",
        "Verdicts, each with what proves it. A record without a value follows the deletion of its post.",
    ),
    "dead_letter_topic": (
        ("dead-letter",),
        "send",
        "key of the refused record",
        "Records that can never be judged, each with the reason.",
    ),
    "review_topic": (
        ("review",),
        "send",
        "post_id",
        "What people decided on verdicts.",
    ),
    "audit_topic": (
        ("audit",),
        "send",
        "action",
        "What people and administrators did to the service.",
    ),
    "banks_topic": (
        ("bank", "bank-entry"),
        "receive",
        "`BANK` for a bank's properties, `BANK/ENTRY_ID` for an entry",
        "Known content, compacted. A record without a value deletes the bank or the entry.",
    ),
    "escalation_topic": (
        ("escalation",),
        "send",
        "post_id",
        "Posts that go to people with special duties, such as child safety.",
    ),
}
_HEADERS = {
    "type": "object",
    "properties": {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_id": {"type": "string"},
        "ce_source": {"type": "string"},
        "ce_type": {"type": "string"},
        "ce_subject": {"type": "string"},
        "ce_time": {"type": "string", "format": "date-time"},
        "content-type": {"type": "string"},
        "traceparent": {"type": "string"},
    },
}


def asyncapi() -> str:
    """The document, as YAML. Schemas are the files in `schemas/` beside it."""
    topics = {topic.name: topic for topic in wanted(KafkaSettings())}
    channels, operations, messages = dict[str, Any](), dict[str, Any](), dict[str, Any]()
    for setting, (contracts, action, key, about) in _TOPICS.items():
        name = KafkaSettings.model_fields[setting].default
        topic, channel = topics[name], setting.removesuffix("_topic")
        for contract in contracts:
            messages[contract] = {
                "name": contract,
                "contentType": "application/json",
                "headers": {"$ref": "#/components/schemas/headers"},
                "payload": {"schemaFormat": "application/schema+json;version=draft-07", "schema": _schema(contract)},
                "bindings": {"kafka": {"key": {"type": "string", "description": key}}},
            }
        channels[channel] = {
            "address": name,
            "description": f"{about} Setting: `kafka.{setting}`.",
            "messages": {contract: {"$ref": f"#/components/messages/{contract}"} for contract in contracts},
            "bindings": {
                "kafka": {
                    "topic": name,
                    "partitions": topic.partitions,
                    "topicConfiguration": _typed(topic.config),
                }
            },
        }
        operations[f"{action}_{channel}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "messages": [{"$ref": f"#/channels/{channel}/messages/{contract}"} for contract in contracts],
        }
    document = {
        "asyncapi": "3.1.0",
        "info": {
            "title": "moderation-service",
            "version": __version__,
            "description": "Posts in, proven verdicts out. Headers are CloudEvents 1.0 in binary mode.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": {"headers": _HEADERS}},
    }
    return "# Made by `make reference`: do not edit.\n" + yaml.safe_dump(document, sort_keys=False, width=120)


def _schema(contract: str) -> dict[str, Any]:
    return {"$ref": f"./schemas/{contract}.schema.json"} if contract in CONTRACTS else AuditEntry.model_json_schema()


def _typed(config: Mapping[str, str]) -> dict[str, Any]:
    """A topic's configuration, in the types that AsyncAPI's Kafka binding asks for."""
    return {name: [value] if name == "cleanup.policy" else int(value) for name, value in config.items()}


if __name__ == "__main__":
    FILE.write_text(asyncapi(), encoding="utf-8")
