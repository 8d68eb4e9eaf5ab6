"""The console in docker-compose.yml and k8s/: its port, its probes, its database, who may reach it and whom it asks."""

import ipaddress
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from moderation_service.console import server
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store.database import open_database
from moderation_service.settings import ConsoleSettings, Settings
from tests.console.support import console_settings, served, shipped_pack
from tests.deploy.files import (
    DEPLOY_DOC,
    ROOT,
    SCALED,
    compose,
    every_overlay,
    every_scaled,
    in_compose,
    in_kubernetes,
    named,
    pod_of,
)
from tests.deploy.test_k8s_network import opened

PORT = ConsoleSettings().port


def settings_of(folder: str, monkeypatch: pytest.MonkeyPatch, scratch: Path) -> Settings:
    (console,) = (started for started in in_kubernetes(folder) if started.arguments == ("console",))
    return console.settings(monkeypatch, scratch)


@every_overlay
async def test_each_probe_is_answered_on_the_port_it_asks(folder: str, tmp_path: Path) -> None:
    (container,) = pod_of(named(folder, "Deployment", "console"))["containers"]
    assert {"name": "http", "containerPort": PORT} in container["ports"]
    (service,) = named(folder, "Service", "console")["spec"]["ports"]
    assert service["targetPort"] == "http"
    url, pack = f"sqlite:///{tmp_path / 'console.db'}", shipped_pack()
    async with open_database(url) as database:
        context = ConsoleContext(console_settings(url), database, pack)
        async with served(context) as address, aiohttp.ClientSession(address) as client:
            for kind in ("startup", "readiness", "liveness"):
                asked = container[f"{kind}Probe"]["httpGet"]
                assert asked["port"] == "http"
                async with client.get(asked["path"]) as answer:
                    assert answer.status == 200


@every_overlay
def test_it_has_time_to_answer_what_it_was_asked_before_it_is_killed(folder: str) -> None:
    pod = pod_of(named(folder, "Deployment", "console"))
    (container,) = pod["containers"]
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > before + server._DRAIN_S + 10
    assert int(compose()["services"]["console"]["stop_grace_period"].removesuffix("s")) > server._DRAIN_S + 10


@every_scaled
def test_its_database_is_a_postgresql_that_it_reaches(
    folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = settings_of(folder, monkeypatch, tmp_path)
    assert settings.console.database_url.get_secret_value().startswith("postgresql://")
    labels = named(folder, "Deployment", "console")["spec"]["template"]["metadata"]["labels"]
    assert 5432 in opened(folder, labels, "egress")
    assert named(folder, "Deployment", "console")["spec"]["replicas"] > 1


@every_overlay
def test_nothing_is_open_to_it_but_what_it_needs(folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = settings_of(folder, monkeypatch, tmp_path)
    labels = named(folder, "Deployment", "console")["spec"]["template"]["metadata"]["labels"]
    needed: set[int | str] = {53, 443}
    needed |= {int(server.rpartition(":")[2]) for server in settings.kafka.bootstrap_servers.split(",")}
    needed |= {5432} if folder in SCALED else set()
    needed |= {"http"} if settings.console.judging_backend == "openai" else set()
    assert opened(folder, labels, "egress") == needed
    assert opened(folder, labels, "ingress") == {"ops"} | ({"http"} if folder in SCALED else set())


def test_it_judges_for_callers_where_a_server_does_and_loads_no_second_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    judges = {
        folder: settings_of(f"overlays/{folder}", monkeypatch, tmp_path) for folder in ("cpu-demo", "gpu", "vllm")
    }
    assert {folder: found.console.judging_backend for folder, found in judges.items()} == {
        "cpu-demo": "off",
        "gpu": "off",
        "vllm": "openai",
    }
    assert judges["vllm"].engine.base_url == "http://vllm:8000/v1"


@every_scaled
def test_the_ingress_has_tls_an_allow_list_and_a_rate_and_leads_to_it(folder: str) -> None:
    ingress = named(folder, "Ingress", "console")
    told = {name.removeprefix("haproxy.org/"): value for name, value in ingress["metadata"]["annotations"].items()}
    assert ingress["spec"]["ingressClassName"] == "haproxy"
    assert all(ipaddress.ip_network(one.strip()).prefixlen for one in told["allow-list"].split(","))
    assert int(told["rate-limit-requests"]) > 0
    assert told["ssl-redirect"] == "true"
    assert float(told["timeout-server"].removesuffix("s")) > ConsoleSettings().judge_timeout_s
    ((rule,), (tls,)) = ingress["spec"]["rules"], ingress["spec"]["tls"]
    assert tls["hosts"] == [rule["host"]]
    ((path,), (port,)) = rule["http"]["paths"], named(folder, "Service", "console")["spec"]["ports"]
    assert path["backend"]["service"] == {"name": "console", "port": {"name": port["name"]}}
    assert re.search(rf"create secret tls {tls['secretName']} --cert=\S+ --key=\S+", DEPLOY_DOC)


@every_scaled
async def test_metrics_and_probes_are_not_open_to_the_outside(folder: str, tmp_path: Path) -> None:
    snippet = named(folder, "Ingress", "console")["metadata"]["annotations"]["haproxy.org/backend-config-snippet"]
    (paths,) = re.findall(r"http-request deny deny_status 404 if \{ path ([^}]+) \}", snippet)
    (endpoint,) = named(folder, "PodMonitor", "console")["spec"]["podMetricsEndpoints"]
    (rule,) = named(folder, "NetworkPolicy", "ingress")["spec"]["ingress"]
    (policy,) = (port["port"] for port in rule["ports"])
    container = pod_of(named(folder, "Deployment", "console"))["containers"][0]
    inside = {
        *(container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")),
    }
    assert set(paths.split()) == inside
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert (endpoint["port"], endpoint["path"], policy) == ("ops", "/metrics", "http")
    assert ports == {"http": PORT, "ops": ConsoleSettings().ops_port}


@every_scaled
def test_the_word_of_no_wide_network_is_taken_for_a_callers_address(folder: str) -> None:
    (container,) = pod_of(named(folder, "Deployment", "console"))["containers"]
    told = {entry["name"]: entry.get("value", "") for entry in container["env"]}
    proxies = [ipaddress.ip_network(one) for one in json.loads(told["MODERATION_CONSOLE__TRUSTED_PROXIES"])]
    assert proxies
    assert all(network.num_addresses == 1 for network in proxies)
    assert "FORWARDED_ALLOW_IPS" not in told


def test_in_compose_it_reaches_the_database_that_is_named_in_its_secret() -> None:
    (console,) = (started for started in in_compose() if started.where == "console")
    services = compose()["services"]
    (url,) = re.findall(r'make_secret database_url "(postgresql://[^"]+)"', (ROOT / "scripts/up.sh").read_text())
    named_in_url = urlsplit(url.replace("$(cat secrets/postgres_password)", "password"))
    database = services["postgres"]["environment"]
    assert (named_in_url.hostname, named_in_url.username) == ("postgres", database["POSTGRES_USER"])
    assert named_in_url.path == f"/{database['POSTGRES_DB']}"
    assert database["POSTGRES_PASSWORD_FILE"] == "/run/secrets/postgres_password"
    assert console.environment["MODERATION_CONSOLE__DATABASE_URL_FILE"] == "/run/secrets/database_url"
    assert services["console"]["depends_on"].keys() == {"topics", "postgres"}
    assert services["console"]["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert f"http://127.0.0.1:{PORT}/readyz" in services["console"]["healthcheck"]["test"][-1]
