"""Which metrics and labels the code has, and which a query asks for."""

import re

from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from moderation_service.telemetry import metrics

ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
FROM_PROMETHEUS = {"instance", "job", "le", "cluster", "namespace"}
BEGUN = {"outcome", "event", "key", "decision", "kind", "le"}  # whose values are there before the first post

_NAME = re.compile(r"\bmoderation_\w+")
_MATCHERS = re.compile(r"\b(moderation_\w+)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring) \(([\w, ]*)\)")


def declared() -> dict[str, frozenset[str]]:
    """The labels of every series name."""
    found = {}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            for ending in ENDINGS[metric._type]:
                found[metric._name + ending] = frozenset(metric._labelnames)
    return found


def wrong_in(query: str) -> list[str]:
    """What the query asks for and the code has not: metrics, labels, and values of labels that are begun at zero."""
    known = declared()
    names = set(_NAME.findall(query))
    wrong = [name for name in names if name not in known]
    labels = FROM_PROMETHEUS.union(*(known.get(name, ()) for name in names))
    for group in _GROUPING.findall(query):
        wrong += [label for label in re.split(r",\s*", group) if label not in labels]
    for name, matchers in _MATCHERS.findall(query):
        for label, how, value in _MATCHER.findall(matchers):
            if label not in known.get(name, frozenset()) | FROM_PROMETHEUS:
                wrong.append(f"{name}{{{label}}}")
            elif how == "=" and label in BEGUN and value not in _values(name, label):
                wrong.append(f'{name}{{{label}="{value}"}}')
    return wrong


def _values(name: str, label: str) -> set[str]:
    samples = (sample for family in REGISTRY.collect() for sample in family.samples)
    return {sample.labels[label] for sample in samples if sample.name == name and label in sample.labels}
