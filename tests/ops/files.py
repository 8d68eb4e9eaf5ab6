"""The files under observability/ as data, and the programs that check them."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import skip_or_fail

ROOT = Path(__file__).parents[2]
OPS = ROOT / "observability"
RULES = OPS / "prometheus" / "rules.yaml"
ALERTMANAGER = OPS / "alertmanager" / "alertmanager.yml"
RUNBOOK = ROOT / "docs" / "how-to" / "runbook.md"
LINK = "{{ $externalLabels.runbooks }}docs/how-to/runbook.md#"


def rules() -> list[dict[str, Any]]:
    """Every rule, recording and alerting."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """The alerting rules by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def program(name: str) -> str:
    """A program's path; the test skips where it is missing."""
    found = shutil.which(name)
    if found is None:
        skip_or_fail(f"{name} is missing (Debian: apt-get install prometheus prometheus-alertmanager)")
    return str(found)
