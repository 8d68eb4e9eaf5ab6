"""The Grafana boards: made from code, asking for what the service has, in queries that Prometheus can parse."""

import json
import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ops.files import OPS, program
from tests.ops.names import declared, wrong_in

FOLDER = OPS / "grafana"
BOARDS = sorted(FOLDER.glob("*.json"))


def targets(path: Path) -> list[dict[str, Any]]:
    board = json.loads(path.read_text(encoding="utf-8"))
    return [target for panel in board["panels"] for target in panel["targets"]]


def plain(target: dict[str, Any]) -> str:
    """The query with Grafana's variables filled in."""
    query = str(target["expr"])
    for name, value in {"$__rate_interval": "1m", "$cluster": ".*", "$namespace": "moderation"}.items():
        query = query.replace(name, value)
    assert "$" not in query
    return query


def test_the_boards_are_as_their_code_makes_them() -> None:
    made = runpy.run_path(str(FOLDER / "make.py"))["boards"]()
    assert {path.name: path.read_text(encoding="utf-8") for path in BOARDS} == made
    assert len(made) == 2


@pytest.mark.parametrize("board", BOARDS, ids=lambda path: path.stem)
def test_a_board_asks_for_metrics_and_labels_that_the_code_has(board: Path) -> None:
    known = declared()
    for target in targets(board):
        assert wrong_in(target["expr"]) == [], target
        labels = {label for name in re.findall(r"moderation_\w+", target["expr"]) for label in known[name]}
        if labels:
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels | {"instance"}, target


@pytest.mark.parametrize("board", BOARDS, ids=lambda path: path.stem)
def test_a_board_shows_the_installations_that_the_reader_chooses_from_the_source_that_they_choose(board: Path) -> None:
    made = json.loads(board.read_text(encoding="utf-8"))
    assert [variable["name"] for variable in made["templating"]["list"]] == ["datasource", "cluster", "namespace"]
    assert {panel["datasource"]["uid"] for panel in made["panels"]} == {"${datasource}"}
    for target in targets(board):
        for metric in re.findall(r"moderation_\w+(\{[^}]*\})?", target["expr"]):
            assert 'cluster=~"$cluster",namespace=~"$namespace"' in metric, target


def test_prometheus_parses_every_query(tmp_path: Path) -> None:
    queries = [plain(target) for board in BOARDS for target in targets(board)]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "boards", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run([program("promtool"), "check", "rules", file], capture_output=True, text=True, check=False)
    assert f"{len(queries)} rules found" in done.stdout, done.stderr


def test_the_boards_show_what_operators_and_reviewers_look_for() -> None:
    operator, safety = ({re.sub(r"_(total|bucket|sum|count)$", "", name) for target in targets(path) for name in
                         re.findall(r"moderation_(\w+)", target["expr"])} for path in BOARDS)  # fmt: skip
    assert operator >= {
        *("received_messages", "retries", "end_to_end_latency_seconds", "consumer_lag", "rebalances"),
        *("engine_batch_posts", "gpu_memory_used_bytes", "engine_call_duration_seconds", "dlq_messages", "verdicts"),
        *("legal_holds", "escalations", "banks_lag", "bank_records_skipped"),
    }
    assert safety >= {
        "verdicts",
        "policy_violations",
        "score_drift",
        "shadow_flips",
        "reviews",
        "bank_matches",
        "bank_reviews",
    }
