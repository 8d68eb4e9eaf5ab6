# ruff: noqa: INP001 - a script, and no package
"""Writes k8s/components/monitoring/rules.yaml, the operator's PrometheusRule, from the rules that Prometheus loads."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
RULES = ROOT / "observability" / "prometheus" / "rules.yaml"
MADE = ROOT / "k8s" / "components" / "monitoring" / "rules.yaml"


def prometheus_rule(rules: str) -> str:
    """The resource, as text, that holds the groups of a rule file."""
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "moderation"},
        "spec": yaml.safe_load(rules),
    }
    head = "# Made by scripts/prometheus_rule.py from observability/prometheus/rules.yaml: change that.\n"
    return head + yaml.safe_dump(resource, allow_unicode=True, sort_keys=False, width=120)


if __name__ == "__main__":
    MADE.write_text(prometheus_rule(RULES.read_text(encoding="utf-8")), encoding="utf-8")
