"""Each name in k8s/ that the service gives its meaning is held to the service."""

import re
from pathlib import Path

import aiohttp
import pytest

from moderation_service.kafka.topics import PARTITIONS
from moderation_service.policies.pack import load_pack
from moderation_service.settings import OpsSettings
from moderation_service.telemetry.health import Health
from moderation_service.telemetry.ops import ops_server
from tests.benchmarks.test_capacity_doc import KNEE
from tests.deploy.files import (
    DEPLOY_DOC,
    ROOT,
    Started,
    containers,
    every_folder,
    every_overlay,
    every_scaled,
    in_kubernetes,
    named,
    of_kind,
    parse,
    pod_of,
    worker_settings,
)
from tests.deploy.test_compose import assert_serves


@every_folder
def test_its_commands_settings_and_paths_are_the_services(
    folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for started in in_kubernetes(folder):
        parse(started.arguments)
        started.settings(monkeypatch, tmp_path)
        if started.arguments == ("run",):
            assert not started.unmounted()


@every_overlay
async def test_each_probe_is_answered_on_the_port_it_asks(folder: str) -> None:
    (worker,) = named(folder, "Deployment", "worker")["spec"]["template"]["spec"]["containers"]
    assert worker["ports"] == [{"name": "ops", "containerPort": OpsSettings().port}]
    asked = {kind: worker[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    assert {probe["port"] for probe in asked.values()} == {"ops"}
    health = Health()
    async with (
        ops_server(OpsSettings(host="127.0.0.1", port=0), health) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
    ):
        answers = {}
        for started in (False, True):
            health.started = started
            for kind, probe in asked.items():
                async with client.get(probe["path"]) as answer:
                    answers[kind, started] = answer.status
        async with client.get("/metrics") as answer:
            assert answer.status == 200
    assert answers == {
        ("startup", False): 503,
        ("readiness", False): 503,
        ("liveness", False): 200,
        ("startup", True): 200,
        ("readiness", True): 503,  # the group is not joined
        ("liveness", True): 200,
    }


@every_scaled
def test_the_operator_scrapes_the_workers_metrics(folder: str) -> None:
    (endpoint,) = named(folder, "PodMonitor", "worker")["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("ops", "/metrics")


@every_overlay
def test_a_worker_has_time_to_drain_before_it_is_killed(
    folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = worker_settings(folder, monkeypatch, tmp_path)
    grace = pod_of(named(folder, "Deployment", "worker"))["terminationGracePeriodSeconds"]
    assert grace > settings.kafka.drain_timeout_s + settings.kafka.request_timeout_s + 10


@every_scaled
def test_keda_reads_the_lag_of_the_group_that_the_workers_are(
    folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kafka = worker_settings(folder, monkeypatch, tmp_path).kafka
    scaled = named(folder, "ScaledObject", "worker")["spec"]
    (trigger,) = scaled["triggers"]
    told = trigger["metadata"]
    assert told["bootstrapServers"] == kafka.bootstrap_servers
    assert told["consumerGroup"] == kafka.group
    assert told["topic"] == kafka.input_topic
    assert told["offsetResetPolicy"] == kafka.auto_offset_reset
    assert told["sasl"].replace("_", "") == kafka.sasl_mechanism.replace("-", "").lower()
    assert (told["tls"] == "enable") == (kafka.security_protocol == "SASL_SSL")
    assert 1 <= scaled["minReplicaCount"] <= scaled["fallback"]["replicas"] <= scaled["maxReplicaCount"]
    partitions = {int(count) for count in re.findall(r"topics (?:create|check) --partitions (\d+)", DEPLOY_DOC)}
    assert partitions == {3 * scaled["maxReplicaCount"]}  # the rule of docs/how-to/capacity.md
    assert told["lagThreshold"] == str(KNEE)  # what a worker judges in the second that the objective allows
    assert "replicas" not in named(folder, "Deployment", "worker")["spec"]
    assert scaled["scaleTargetRef"]["name"] == "worker"


def test_the_demo_makes_the_topics_with_as_many_partitions_as_elsewhere() -> None:
    (job,) = of_kind("overlays/cpu-demo", "Job")
    (container,) = pod_of(job)["containers"]
    arguments = container["args"]
    assert arguments[arguments.index("--partitions") + 1] == str(PARTITIONS)


@every_overlay
def test_the_policies_that_a_worker_mounts_are_those_of_the_folder_and_reload(folder: str, tmp_path: Path) -> None:
    for name, text in named(folder, "ConfigMap", "policies")["data"].items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert load_pack(tmp_path, images=False).digest == load_pack(ROOT / "policies/starter").digest
    (worker,) = named(folder, "Deployment", "worker")["spec"]["template"]["spec"]["containers"]
    (mount,) = (mount for mount in worker["volumeMounts"] if mount["name"] == "policies")
    assert "subPath" not in mount  # such a mount would never change


@every_overlay
def test_changed_settings_make_new_pods(folder: str) -> None:
    (worker,) = named(folder, "Deployment", "worker")["spec"]["template"]["spec"]["containers"]
    (source,) = worker["envFrom"]
    assert re.fullmatch(r"settings-\w{10}", source["configMapRef"]["name"])


def test_vllm_serves_what_the_worker_asks_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (server,) = pod_of(named("overlays/vllm", "Deployment", "vllm"))["containers"]
    (command,) = server["args"]
    settings = worker_settings("overlays/vllm", monkeypatch, tmp_path)
    assert_serves(command, settings)
    (port,) = named("overlays/vllm", "Service", "vllm")["spec"]["ports"]
    assert settings.engine.base_url == f"http://vllm:{port['port']}/v1"


@pytest.mark.parametrize(("folder", "workload"), [("overlays/gpu", "worker"), ("overlays/vllm", "vllm")])
def test_the_model_is_checked_where_it_is_read(folder: str, workload: str) -> None:
    pod = pod_of(named(folder, "Deployment", workload))
    (check,) = pod["initContainers"]
    folders = []
    for container in (check, *pod["containers"]):
        (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "model")
        folders.append((mount["mountPath"], mount["subPathExpr"], mount["readOnly"]))
    assert set(folders) == {("/models/GLM-4.6V-Flash", "$(REVISION)", True)}
    script, checked, sums = check["command"][1:]
    assert checked == "/models/GLM-4.6V-Flash"
    (model,) = (
        found["data"] for found in of_kind(folder, "ConfigMap") if found["metadata"]["name"].startswith("model-")
    )
    assert {Path(script).name, Path(sums).name} <= set(model)


def test_the_image_that_is_checked_and_run_is_the_one_with_cuda_on_a_gpu() -> None:
    pod = pod_of(named("overlays/gpu", "Deployment", "worker"))
    assert {container["image"] for container in containers(pod)} == {"moderation-service:gpu"}
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_a_started_container_says_which_paths_are_not_mounted() -> None:
    started = Started("here", ("run",), {"A": "/etc/a/b", "B": "/etc/c"}, frozenset({"/etc/a"}))
    assert started.unmounted() == ["/etc/c"]


@every_scaled
def test_grafanas_sidecar_finds_both_dashboards(folder: str) -> None:
    boards = named(folder, "ConfigMap", "moderation-dashboards")
    assert boards["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert set(boards["data"]) == {path.name for path in (ROOT / "observability" / "grafana").glob("*.json")}
