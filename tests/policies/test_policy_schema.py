"""The committed JSON Schema is the model's, and agrees with it on the shipped files."""

import json
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from moderation_service.policies.model import policy_schema
from moderation_service.settings import shipped_policies

SCHEMA = json.loads(policy_schema())


def test_the_committed_schema_is_the_models() -> None:
    """Write it anew after a change of the model: `moderation policies schema > policies/policy.schema.json`."""
    committed = (shipped_policies().parent / "policy.schema.json").read_text(encoding="utf-8")
    assert committed == policy_schema()


def test_the_schema_is_a_schema() -> None:
    """Editors refuse a wrong one in silence."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("part", [SCHEMA, *SCHEMA["$defs"].values()], ids=lambda part: part["title"])
def test_every_field_says_what_would_be_right(part: dict[str, dict[str, dict[str, str]]]) -> None:
    """An editor shows it while the owner writes."""
    assert all(field.get("description") for field in part.get("properties", {}).values())


@pytest.mark.parametrize("file", sorted(shipped_policies().glob("*.yaml")), ids=lambda file: file.stem)
def test_the_shipped_policies_fit_the_schema(file: Path) -> None:
    """What the service takes, the editor takes."""
    jsonschema.validate(yaml.safe_load(file.read_text(encoding="utf-8")), SCHEMA)


def test_the_schema_refuses_an_unknown_field() -> None:
    """What the service refuses, the editor underlines."""
    with pytest.raises(jsonschema.ValidationError, match="treshold"):
        jsonschema.validate({"treshold": 1}, {**SCHEMA, "required": []})
