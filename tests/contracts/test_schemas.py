import json
from pathlib import Path

import jsonschema
import pytest

from moderation_service.contracts.schemas import CONTRACTS, json_schema
from tests.contracts.examples import verdict

FOLDER = Path(__file__).parents[2] / "docs" / "reference" / "schemas"


@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_committed_schema_is_the_models(contract: str) -> None:
    committed = (FOLDER / f"{contract}.schema.json").read_text(encoding="utf-8")
    assert committed == json_schema(contract), (
        f"run: moderation schema {contract} > docs/reference/schemas/{contract}.schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(json.loads(committed))


def test_a_written_verdict_fits_its_schema() -> None:
    jsonschema.validate(json.loads(verdict().to_json()), json.loads(json_schema("verdict")))
