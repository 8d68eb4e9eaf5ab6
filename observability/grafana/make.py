"""Writes the two boards beside it, run as a script. A board is a list of rows, a row of panels."""  # noqa: INP001

import json
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
SOURCE = {"type": "prometheus", "uid": "prometheus"}
WIDTH, HEIGHT = 24, 8
RATE = "[$__rate_interval]"
WORKERS = "moderation_build_info unless on (instance) moderation_console_held"


class Panel(NamedTuple):
    """A graph: its queries by what the legend calls their lines, the lines' unit, and what a reader should know."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    says: str = ""
    stacked: bool = False


def latency(share: float) -> str:
    """The time within which a share of the posts had their verdict."""
    return f"histogram_quantile({share}, sum by (le) (rate(moderation_end_to_end_latency_seconds_bucket{RATE})))"


def rate(metric: str, by: str = "") -> str:
    """A counter's rise in a second."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{RATE}))"


def mean(histogram: str, by: str = "") -> str:
    """A histogram's mean."""
    return f"{rate(f'{histogram}_sum', by)} / {rate(f'{histogram}_count', by)}"


OPERATOR = [
    [
        Panel(
            "Traffic",
            {"received": rate("moderation_received_messages_total")}
            | {"{{outcome}}": rate("moderation_processed_messages_total", "outcome")},
            "reqps",
        ),
        Panel(
            "Errors",
            {"try again: {{reason}}": rate("moderation_retries_total", "reason")}
            | {"engine: {{reason}}": rate("moderation_engine_errors_total", "reason")}
            | {"commit: {{outcome}}": rate('moderation_commits_total{outcome!="done"}', "outcome")},
            "reqps",
            "Failed tries are made again; nothing is dropped.",
        ),
        Panel(
            "Time to the verdict",
            {f"p{round(share * 100)}": latency(share) for share in (0.5, 0.95, 0.99)}
            | {"mean": mean("moderation_end_to_end_latency_seconds")},
            "s",
            "From the producer's timestamp to the published verdict. The objective: 99% within 1 s.",
        ),
    ],
    [
        Panel(
            "Lag",
            {"partition {{partition}}": "max by (partition) (moderation_consumer_lag)"},
            says="Records behind the end of each partition.",
        ),
        Panel(
            "In flight",
            {"posts": "sum(moderation_messages_in_process)"}
            | {"oldest partition": "max(moderation_partition_incomplete_offsets)"}
            | {"backpressure, s/s": rate("moderation_backpressure_seconds_total")},
        ),
        Panel(
            "Members",
            {"workers": f"count({WORKERS})", "partitions owned": "sum(moderation_assigned_partitions)"}
            | {"{{event}}, an hour": "sum by (event) (increase(moderation_rebalances_total[1h]))"},
            says="Every rebalance takes all partitions away and gives some back.",
        ),
    ],
    [
        Panel(
            "Mean time in a step",
            {"{{stage}}": mean("moderation_process_duration_seconds", "stage")},
            "s",
            stacked=True,
        ),
        Panel(
            "Engine's calls",
            {"{{kind}}: under way": rate("moderation_engine_call_duration_seconds_sum", "kind")},
            says="How many run at once in the mean. A local engine has one thread: at 1 it is never idle.",
        ),
        Panel(
            "Batches",
            {"views a call": mean("moderation_engine_batch_posts"), "posts a commit": mean("moderation_batch_size")},
        ),
    ],
    [
        Panel(
            "GPU memory",
            {
                "{{instance}}": "moderation_gpu_memory_used_bytes / (moderation_gpu_memory_total_bytes > 0)",
            },
            "percentunit",
        ),
        Panel(
            "Dead letters",
            {"{{reason}}": rate("moderation_dlq_messages_total", "reason")}
            | {"pauses of intake, an hour": "sum(increase(moderation_dlq_pauses_total[1h]))"}
            | {"offsets lost, an hour": "sum(increase(moderation_lost_records_total[1h]))"},
        ),
        Panel(
            "Abstentions",
            {
                "share": 'sum(rate(moderation_verdicts_total{decision="abstain"}'
                f"{RATE})) / {rate('moderation_verdicts_total')}",
            },
            "percentunit",
            "Posts of which the service says that it cannot tell.",
        ),
    ],
    [
        Panel(
            "Tokens",
            {"{{kind}}": rate("moderation_engine_tokens_total", "kind")},
            says="Read and written by the model in a second.",
        ),
        Panel("Pictures", {"{{outcome}}": rate("moderation_images_total", "outcome")}, "reqps"),
        Panel(
            "Reposts",
            {
                "judged before": f"{rate('moderation_cache_hits_total')} / "
                f"({rate('moderation_cache_hits_total')} + {rate('moderation_cache_misses_total')})",
            },
            "percentunit",
        ),
    ],
]

TRUST_AND_SAFETY = [
    [
        Panel("Decisions", {"{{decision}}": rate("moderation_verdicts_total", "decision")}, "reqps", stacked=True),
        Panel("Violations by policy", {"{{policy}}": rate("moderation_policy_violations_total", "policy")}, "reqps"),
        Panel(
            "Violations by where they are",
            {"{{attribution}}": rate("moderation_policy_violations_total", "attribution")},
            "reqps",
            "combined: neither the words nor the pictures alone violate. unknown: the views did not run.",
            stacked=True,
        ),
    ],
    [
        Panel(
            "Score drift",
            {"{{policy}}": "max by (policy) (moderation_score_drift)"},
            says="Population stability index against the calibration set: over 0.1 look, over 0.25 calibrate anew.",
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
            "The share of people's answers that disagree with the verdict.",
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
            says="1 while it waits for Kafka or the database: ingest reads, outbox sends people's decisions.",
        ),
    ],
]


def board(uid: str, title: str, rows: list[list[Panel]]) -> dict[str, Any]:
    """A dashboard as Grafana loads it."""
    panels = []
    for down, row in enumerate(rows):
        width = WIDTH // len(row)
        for across, panel in enumerate(row):
            place = {"x": across * width, "y": down * HEIGHT, "w": width, "h": HEIGHT}
            panels.append({"id": len(panels) + 1, "gridPos": place, **_drawn(panel)})
    return {
        "uid": uid,
        "title": title,
        "tags": ["moderation"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "panels": panels,
    }


def _drawn(panel: Panel) -> dict[str, Any]:
    lines = {"fillOpacity": 20 if panel.stacked else 0, "stacking": {"mode": "normal" if panel.stacked else "none"}}
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.says,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": lines}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + number), "expr": query, "legendFormat": legend, "exemplar": "_bucket" in query}
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
