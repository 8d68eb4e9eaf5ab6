"""The alerts: their syntax, when they fire, and that each says what to do."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.ops.files import LINK, OPS, RULES, RUNBOOK, alerts, program, rules
from tests.ops.names import wrong_in

TESTS = OPS / "prometheus" / "rules.test.yaml"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("check", [("check", "rules", str(RULES)), ("test", "rules", str(TESTS))])
def test_promtool_passes_the_rules_and_their_own_tests(check: tuple[str, ...]) -> None:
    done = subprocess.run([program("promtool"), *check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", alerts())
def test_every_alert_has_series_that_raise_it_and_series_that_do_not(alert: str) -> None:
    cases = yaml.safe_load(TESTS.read_text(encoding="utf-8"))["tests"]
    asked = [query for case in cases for query in case.get("promql_expr_test", ()) if f'"{alert}"' in query["expr"]]
    assert {query["exp_samples"][0]["value"] for query in asked} == {0, 1}


def test_every_alert_links_to_its_entry_in_the_runbook_and_every_entry_is_of_an_alert() -> None:
    links = {rule["annotations"]["runbook_url"] for rule in alerts().values()}
    entries = re.findall(r"^## (\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert links == {LINK + entry.lower() for entry in entries}


def test_an_entry_of_the_runbook_says_what_it_means_what_to_look_at_and_what_to_do() -> None:
    _, *entries = re.split(r"^## ", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for entry in entries:
        assert "**Means**" in entry
        assert "**Look**" in entry
        assert re.search(r"\*\*Do\*\*|\*\*do\*\*", entry)
        assert "**Impact**" in entry
        assert "**Escalate**" in entry
        assert re.search(r"`[^`]*(moderation|kubectl|kafka-)[^`]*`", entry), f"no query and no command: {entry}"


def test_every_query_of_the_runbook_parses_and_asks_for_what_the_code_has(tmp_path: Path) -> None:
    spans = re.findall(r"`([^`]+)`", RUNBOOK.read_text(encoding="utf-8"))
    queries = [" ".join(span.split()) for span in spans if re.search(r"\bmoderation_\w+|moderation:", span)]
    assert [query for query in queries if wrong_in(query)] == []
    file = tmp_path / "queries.yml"
    made = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    file.write_text(yaml.safe_dump({"groups": [{"name": "runbook", "rules": made}]}), encoding="utf-8")
    done = subprocess.run([program("promtool"), "check", "rules", file], capture_output=True, text=True, check=False)
    assert f"{len(queries)} rules found" in done.stdout, done.stderr


def test_every_rule_keeps_cluster_and_namespace_so_that_one_installation_never_hides_another() -> None:
    for rule in rules():
        ungrouped = re.findall(r"\b(?:sum|count|min|max|avg) ?\(", rule["expr"])
        groups = re.findall(r"\b(?:by|on) \(([\w, ]*)\)", rule["expr"])
        assert not ungrouped, rule["expr"]
        assert all(group.startswith("cluster, namespace") for group in groups), rule["expr"]


def test_every_alert_has_a_severity_and_a_summary() -> None:
    for rule in alerts().values():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"]
