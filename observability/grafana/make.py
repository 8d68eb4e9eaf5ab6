"""Writes the two dashboards beside it, run as a script. A dashboard is a list of rows, a row a list of panels."""  # noqa: INP001

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT, STAT_HEIGHT = 24, 8, 4
CHOSEN = 'cluster=~"$cluster",namespace=~"$namespace"'  # every query is of the installations that the reader chose
RATE = "[$__rate_interval]"
WORKERS = "moderation_build_info unless on (instance) moderation_console_held"


class Panel(NamedTuple):
    """A graph of one unit: its queries by what the legend calls their lines, and what a reader should know.

    `thresholds`: from where on it is a warning, and critical. `kind` stat: the last value as a large number.
    """

    title: str
    queries: dict[str, str]
    unit: str = "short"
    says: str = ""
    stacked: bool = False
    thresholds: tuple[float, float] | None = None
    kind: str = "timeseries"


def latency(share: float) -> str:
    """The time within which a share of the posts had their verdict."""
    return f"histogram_quantile({share}, sum by (le) (rate(moderation_end_to_end_latency_seconds_bucket{RATE})))"


def rate(metric: str, by: str = "") -> str:
    """A counter's rise in a second."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{RATE}))"


def mean(histogram: str, by: str = "") -> str:
    """A histogram's mean."""
    return f"{rate(f'{histogram}_sum', by)} / {rate(f'{histogram}_count', by)}"


def stat(title: str, query: str, unit: str = "short", thresholds: tuple[float, float] | None = None) -> Panel:
    """A large number."""
    return Panel(title, {"": query}, unit, thresholds=thresholds, kind="stat")


def share(decision: str) -> str:
    """The share of a decision among the verdicts."""
    return f'{rate(f"""moderation_verdicts_total{{decision="{decision}"}}""")} / {rate("moderation_verdicts_total")}'


LAG = "sum(max by (cluster, namespace, topic, partition) (moderation_consumer_lag))"

OPERATOR = [
    [
        stat("Verdicts a second", rate("moderation_verdicts_total"), "reqps"),
        stat("p99 latency", latency(0.99), "s", (0.5, 1)),
        stat("Lag", LAG, "short", (1000, 10000)),
        stat("Abstentions", share("abstain"), "percentunit", (0.05, 0.5)),
        stat("Blocks", share("block"), "percentunit", (0.05, 0.5)),
        stat("Workers", f"count({WORKERS})"),
    ],
    [
        Panel(
            "Traffic",
            {"received": rate("moderation_received_messages_total")}
            | {"{{outcome}}": rate("moderation_processed_messages_total", "outcome")},
            "reqps",
        ),
        Panel(
            "Errors",
            {"retry: {{reason}}": rate("moderation_retries_total", "reason")}
            | {"engine: {{reason}}": rate("moderation_engine_errors_total", "reason")}
            | {"commit: {{outcome}}": rate('moderation_commits_total{outcome!="done"}', "outcome")},
            "reqps",
            "Failed attempts are retried; nothing is dropped.",
        ),
        Panel(
            "End-to-end latency",
            {f"p{round(share * 100)}": latency(share) for share in (0.5, 0.95, 0.99)}
            | {"mean": mean("moderation_end_to_end_latency_seconds")},
            "s",
            "From the producer's timestamp to the published verdict. The objective: 99% within 1 s.",
            thresholds=(0.5, 1),
        ),
    ],
    [
        Panel(
            "Consumer lag",
            {"{{topic}} {{partition}}": "max by (topic, partition) (moderation_consumer_lag)"},
            says="Records behind the end of each partition.",
        ),
        Panel(
            "In flight",
            {"posts": "sum(moderation_messages_in_process)"}
            | {"fullest partition": "max(moderation_partition_incomplete_offsets)"},
        ),
        Panel(
            "Intake paused",
            {"{{instance}}": rate("moderation_backpressure_seconds_total", "instance")},
            "percentunit",
            "Share of the time in which a worker takes nothing in, because too much is in flight.",
        ),
    ],
    [
        Panel(
            "Members",
            {"workers": f"count({WORKERS})", "partitions owned": "sum(moderation_assigned_partitions)"},
        ),
        Panel(
            "Rebalances an hour",
            {"{{event}}": "sum by (event) (increase(moderation_rebalances_total[1h]))"},
            says="Every rebalance takes all partitions away and gives some back.",
        ),
        Panel(
            "Batches",
            {"passes a call": mean("moderation_engine_batch_posts"), "posts a commit": mean("moderation_batch_size")},
        ),
    ],
    [
        Panel(
            "Mean time by stage",
            {"{{stage}}": mean("moderation_process_duration_seconds", "stage")},
            "s",
            stacked=True,
        ),
        Panel(
            "Engine calls in progress",
            {"{{kind}}": rate("moderation_engine_call_duration_seconds_sum", "kind")},
            says="How many run at once in the mean. A local engine has one thread: at 1 it is never idle.",
        ),
        Panel("Tokens a second", {"{{kind}}": rate("moderation_engine_tokens_total", "kind")}),
    ],
    [
        Panel(
            "GPU memory",
            {"{{instance}}": "moderation_gpu_memory_used_bytes / (moderation_gpu_memory_total_bytes > 0)"},
            "percentunit",
            thresholds=(0.9, 0.97),
        ),
        Panel(
            "GPU utilisation",
            {"{{exported_pod}} {{gpu}}": 'DCGM_FI_DEV_GPU_UTIL{exported_container=~"worker|vllm"} / 100'},
            "percentunit",
            "From NVIDIA's DCGM exporter; empty without it. Its own labels name the pod.",
        ),
        Panel(
            "Repeated content",
            {
                "cache hits": f"{rate('moderation_cache_hits_total')} / "
                f"({rate('moderation_cache_hits_total')} + {rate('moderation_cache_misses_total')})",
            },
            "percentunit",
        ),
    ],
    [
        Panel("Dead letters", {"{{reason}}": rate("moderation_dlq_messages_total", "reason")}, "reqps"),
        Panel(
            "Losses and pauses an hour",
            {"pauses of intake": "sum(increase(moderation_dlq_pauses_total[1h]))"}
            | {"offsets lost": "sum(increase(moderation_lost_records_total[1h]))"},
        ),
        Panel("Images", {"{{outcome}}": rate("moderation_images_total", "outcome")}, "reqps"),
    ],
    [
        Panel(
            "Legal hold and escalations, an hour",
            {"hold: {{outcome}}": "sum by (outcome) (increase(moderation_legal_holds_total[1h]))"}
            | {"escalated: {{route}}": "sum by (route) (increase(moderation_escalations_total[1h]))"},
            says="A write that failed is tried again, and its post waits.",
        ),
        Panel(
            "Banks, behind",
            {"{{instance}}": "moderation_banks_lag"},
            says="Records of the banks topic that a process has not read.",
        ),
        Panel(
            "Banks, troubles an hour",
            {"records skipped": "sum(increase(moderation_bank_records_skipped_total[1h]))"}
            | {"compactions failed": "sum(increase(moderation_bank_compaction_failures_total[1h]))"}
            | {"HMA lookups failed": 'sum(increase(moderation_hma_lookups_total{outcome="failed"}[1h]))'},
        ),
    ],
]

TRUST_AND_SAFETY = [
    [
        stat("Verdicts a second", rate("moderation_verdicts_total"), "reqps"),
        stat("Blocks", share("block"), "percentunit", (0.05, 0.5)),
        stat("Reviews", share("review"), "percentunit"),
        stat("Abstentions", share("abstain"), "percentunit", (0.05, 0.5)),
    ],
    [
        Panel("Decisions", {"{{decision}}": rate("moderation_verdicts_total", "decision")}, "reqps", stacked=True),
        Panel("Violations by policy", {"{{policy}}": rate("moderation_policy_violations_total", "policy")}, "reqps"),
        Panel(
            "Violations by attribution",
            {"{{attribution}}": rate("moderation_policy_violations_total", "attribution")},
            "reqps",
            "combined: neither the text nor the images alone violate. unknown: the single-modality passes did not run.",
            stacked=True,
        ),
    ],
    [
        Panel(
            "Score drift",
            {"{{policy}}": "max by (policy) (moderation_score_drift)"},
            says="Population stability index against the calibration set: over 0.1 look, over 0.25 calibrate again.",
            thresholds=(0.1, 0.25),
        ),
        Panel(
            "Shadow flips",
            {"{{policy}}": rate("moderation_shadow_flips_total", "policy")},
            "reqps",
            "Posts on which a shadow policy says other than what is in force.",
        ),
        Panel(
            "Overturned by reviewers",
            {
                "{{policy}}": 'sum by (policy) (rate(moderation_reviews_total{agreed="false"}[1h])) '
                "/ sum by (policy) (rate(moderation_reviews_total[1h]))",
            },
            "percentunit",
            "The share of reviews that disagree with the verdict.",
        ),
    ],
    [
        Panel(
            "Posts that match a bank",
            {"{{bank}}, {{action}}, {{mode}}": rate("moderation_bank_matches_total", "bank, action, mode")},
            "reqps",
            "Known content. Banks with a route are called routed; banks in shadow decide nothing.",
        ),
        Panel(
            "False matches",
            {
                "{{bank}}": 'sum by (bank) (rate(moderation_bank_reviews_total{agreed="false"}[1h])) '
                "/ sum by (bank) (rate(moderation_bank_reviews_total[1h]))",
            },
            "percentunit",
            "The share of reviews that disagree with the bank.",
        ),
        Panel(
            "Entries of banks",
            {"{{bank}}": "max by (bank) (moderation_bank_entries)"},
            says="As workers and consoles match them.",
        ),
    ],
    [
        Panel("Explanations", {"{{outcome}}": rate("moderation_explanations_total", "outcome")}, "reqps"),
        Panel(
            "Policies changed, an hour",
            {"{{outcome}}": "sum by (outcome) (increase(moderation_policy_reloads_total[1h]))"},
        ),
        Panel("Model", {"{{name}} {{revision}}": "count by (name, revision) (moderation_model_info)"}),
    ],
    [
        Panel(
            "Console",
            {"behind: {{topic}}": "sum by (topic) (moderation_console_lag)"},
            says="Records that reviewers do not see yet.",
        ),
        Panel(
            "Console, waiting",
            {"{{what}}": "max by (what) (moderation_console_held)"},
            says="1 while it waits for Kafka or the database: ingest reads verdicts, outbox sends people's decisions, "
            "banks reads what is known.",
        ),
    ],
]


def board(uid: str, title: str, rows: list[list[Panel]]) -> dict[str, Any]:
    """A dashboard as Grafana loads it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        width = WIDTH // len(row)
        height = STAT_HEIGHT if row[0].kind == "stat" else HEIGHT
        for across, panel in enumerate(row):
            place = {"x": across * width, "y": top, "w": width, "h": height}
            panels.append({"id": len(panels) + 1, "gridPos": place, **_drawn(panel)})
        top += height
    return {
        "uid": uid,
        "title": title,
        "tags": ["moderation"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_datasource(), _label("cluster"), _label("namespace")]},
        "panels": panels,
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _label(name: str) -> dict[str, Any]:
    query = f"label_values(moderation_build_info, {name})"
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",  # also where the label is absent
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _of_the_chosen(query: str) -> str:
    """The query with each of the service's metrics limited to the chosen installations."""
    return re.sub(
        r"\b(moderation_\w+)(?:\{([^}]*)\})?",
        lambda found: f"{found[1]}{{{found[2] + ',' if found[2] else ''}{CHOSEN}}}",
        query,
    )


def _drawn(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    options: dict[str, Any] = {"reduceOptions": {"calcs": ["lastNotNull"]}}
    if panel.kind == "timeseries":
        lines = {"fillOpacity": 20 if panel.stacked else 0, "stacking": {"mode": "normal" if panel.stacked else "none"}}
        marks = {"thresholdsStyle": {"mode": "dashed"}} if panel.thresholds else {}
        defaults["custom"] = lines | marks
        options = {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]}}
    if panel.thresholds:
        colours = zip(("green", "orange", "red"), (None, *panel.thresholds), strict=True)
        steps = [{"color": colour, "value": value} for colour, value in colours]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "expr": _of_the_chosen(query),
                "legendFormat": legend,
                "exemplar": "_bucket" in query,
            }
            for number, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def boards() -> dict[str, str]:
    """The files' texts by name."""
    made = {
        "operator.json": board("moderation-operator", "Moderation: operator", OPERATOR),
        "trust-and-safety.json": board("moderation-safety", "Moderation: trust and safety", TRUST_AND_SAFETY),
    }
    return {name: json.dumps(one, indent=1) + "\n" for name, one in made.items()}


if __name__ == "__main__":
    for name, text in boards().items():
        (HERE / name).write_text(text, encoding="utf-8")
