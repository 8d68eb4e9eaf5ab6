"""What the network policies of k8s/ open, and that they open nothing else."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.deploy.files import every_overlay, matches, named, of_kind, worker_settings


def opened(folder: str, labels: Mapping[str, str], way: str) -> set[int | str]:
    """The ports that network policies open to or from pods with these labels."""
    ports: set[int | str] = set()
    for policy in of_kind(folder, "NetworkPolicy"):
        if matches(policy["spec"]["podSelector"], labels):
            for rule in policy["spec"].get(way, ()):
                assert rule.get("from" if way == "ingress" else "to"), "open to all the world"
                ports |= {port["port"] for port in rule["ports"]}
    return ports


@every_overlay
def test_nothing_is_open_to_a_worker_but_what_it_needs(
    folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = worker_settings(folder, monkeypatch, tmp_path)
    labels = named(folder, "Deployment", "worker")["spec"]["template"]["metadata"]["labels"]
    brokers = {int(server.rpartition(":")[2]) for server in settings.kafka.bootstrap_servers.split(",")}
    server = {"http"} if settings.engine.kind == "openai" else set()
    assert opened(folder, labels, "egress") == {53, 443} | brokers | server
    assert opened(folder, labels, "ingress") == {"ops"}


@every_overlay
def test_what_no_policy_names_is_denied(folder: str) -> None:
    denied = named(folder, "NetworkPolicy", "default-deny")["spec"]
    assert denied == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@every_overlay
def test_private_addresses_are_not_open_to_https(folder: str) -> None:
    (rule,) = named(folder, "NetworkPolicy", "https")["spec"]["egress"]
    (public,) = (peer["ipBlock"] for peer in rule["to"] if ":" not in peer["ipBlock"]["cidr"])
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"} <= set(public["except"])


@every_overlay
def test_names_are_resolved_by_the_clusters_service_and_by_the_nodes_own_cache(folder: str) -> None:
    (rule,) = named(folder, "NetworkPolicy", "dns")["spec"]["egress"]
    assert {"cidr": "169.254.20.10/32"} in [peer.get("ipBlock") for peer in rule["to"]]
    assert {port["protocol"] for port in rule["ports"]} == {"UDP", "TCP"}
