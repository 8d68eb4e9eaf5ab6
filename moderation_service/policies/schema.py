"""The JSON Schema of a policy file: editors complete and check a policy with it while it is written."""

import json

from moderation_service.policies.model import Policy


def policy_schema() -> str:
    """The schema as text, as `policies/policy.schema.json` holds it."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Policy.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
