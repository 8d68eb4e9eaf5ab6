"""The alerts and boards ask for nothing that the code does not have; the code has all that the outside relies on."""

import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from tests.ops.files import ROOT, rules
from tests.ops.names import declared, wrong_in

PROMISED = {
    "received_messages_total": (),
    "processed_messages_total": ("outcome",),
    "messages_in_process": (),
    "process_duration_seconds_bucket": ("stage",),
    "batch_size_bucket": (),
    "end_to_end_latency_seconds_bucket": (),
    "published_messages_total": ("topic", "outcome"),
    "retries_total": ("reason",),
    "dlq_messages_total": ("reason",),
    "consumer_lag": ("topic", "partition"),
    "partition_incomplete_offsets": ("topic", "partition"),
    "partition_committed_offset": ("topic", "partition"),
    "commits_total": ("outcome",),
    "rebalances_total": ("event",),
    "assigned_partitions": (),
    "backpressure_seconds_total": (),
    "consumer_stuck_total": (),
    "verdicts_total": ("decision",),
    "policy_violations_total": ("policy", "attribution"),
    "shadow_flips_total": ("policy",),
    "policy_reloads_total": ("outcome",),
    "engine_tokens_total": ("kind",),
    "engine_batch_posts_bucket": (),
    "engine_errors_total": ("reason",),
    "model_load_failures_total": (),
    "model_info": ("name", "revision", "dtype", "layout"),
    "gpu_memory_used_bytes": (),
    "gpu_memory_total_bytes": (),
    "images_total": ("outcome",),
    "cache_hits_total": (),
    "cache_misses_total": (),
    "score_drift": ("policy",),
    "reviews_total": ("policy", "agreed"),
    "build_info": ("version",),
    "http_requests_total": ("route", "status"),
    "http_request_duration_seconds_bucket": ("route",),
}


def test_every_metric_of_the_interface_is_declared_with_its_labels() -> None:
    known = declared()
    for name, labels in PROMISED.items():
        assert known.get(f"moderation_{name}") == frozenset(labels), name


def test_every_metric_is_declared_in_one_file_and_has_help() -> None:
    sources = (ROOT / "moderation_service").rglob("*.py")
    declaring = [
        path.name for path in sources if re.search(r'\b(Counter|Gauge|Histogram)\(\s*"moderation_', _text(path))
    ]
    assert declaring == ["metrics.py"]
    for family in REGISTRY.collect():
        assert family.documentation, family.name


def test_latency_histograms_have_edges_on_the_objectives() -> None:
    for family in REGISTRY.collect():
        if family.name.endswith("_seconds") and family.type == "histogram":
            edges = {sample.labels["le"] for sample in family.samples if "le" in sample.labels}
            assert not edges or {"0.25", "1.0"} <= edges, family.name


def test_the_alerts_ask_for_what_the_code_has() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        assert wrong_in(rule["expr"]) == [], rule
        assert set(re.findall(r"moderation:\w+:\w+", rule["expr"])) <= recorded


@pytest.mark.parametrize(
    "query",
    [
        "moderation_nonsense_total",
        "rate(moderation_dlq_messages[5m])",
        'moderation_processed_messages_total{decision="block"}',
        'moderation_processed_messages_total{outcome="burnt"}',
        "sum by (post_id) (moderation_consumer_lag)",
        'moderation_end_to_end_latency_seconds_bucket{le="0.9"}',
    ],
)
def test_a_query_for_what_the_code_has_not_is_found(query: str) -> None:
    assert len(wrong_in(query)) == 1


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
