"""The PrometheusRule of k8s/ says what Prometheus's own rule file says."""

import runpy

import yaml

from tests.deploy.files import ROOT, named

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "prometheus_rule.py"))


def test_the_committed_rule_is_what_the_script_makes_of_the_rule_file() -> None:
    made = SCRIPT["prometheus_rule"](SCRIPT["RULES"].read_text(encoding="utf-8"))
    assert SCRIPT["MADE"].read_text(encoding="utf-8") == made, "run scripts/prometheus_rule.py"


def test_a_cluster_gets_the_groups_of_the_rule_file() -> None:
    groups = yaml.safe_load((ROOT / "observability" / "prometheus" / "rules.yaml").read_text(encoding="utf-8"))[
        "groups"
    ]
    assert any("alert" in rule for group in groups for rule in group["rules"])
    for folder in ("overlays/gpu", "overlays/vllm"):
        assert named(folder, "PrometheusRule", "moderation")["spec"]["groups"] == groups
