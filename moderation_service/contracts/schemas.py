"""The JSON Schemas of the contracts, made from the models."""

import json

from moderation_service.contracts.bank import Bank, BankEntry
from moderation_service.contracts.base import Contract
from moderation_service.contracts.dead_letter import DeadLetter
from moderation_service.contracts.escalation import Escalation
from moderation_service.contracts.post import Post
from moderation_service.contracts.review import Review
from moderation_service.contracts.verdict import Verdict

CONTRACTS: dict[str, type[Contract]] = {
    "post": Post,
    "verdict": Verdict,
    "review": Review,
    "dead-letter": DeadLetter,
    "escalation": Escalation,
    "bank": Bank,
    "bank-entry": BankEntry,
}


def json_schema(contract: str) -> str:
    """One contract's JSON Schema (draft 2020-12) as text. A `contract` is a key of CONTRACTS."""
    model = CONTRACTS[contract]
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"
