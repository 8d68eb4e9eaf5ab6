"""k8s/ as kustomize renders it: valid, whole, and in keeping with the conventions of clusters."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.deploy.files import (
    DEPLOY_DOC,
    ROOT,
    SCALED,
    containers,
    every_folder,
    every_overlay,
    matches,
    named,
    of_kind,
    pod_of,
    rendered,
    workloads,
)

SCHEMAS = Path(__file__).parent / "schemas"
KUBERNETES = json.loads((SCHEMAS / "kubernetes.json").read_text())
CUSTOM = json.loads((SCHEMAS / "custom.json").read_text())
SECRETS = {  # that an administrator makes
    "kafka": {"username", "password", "ca.crt"},
    "kafka-console": {"username", "password"},
    "console": {"database_url"},
    "vllm": {"key"},
}


@cache
def validator(kind: str) -> jsonschema.Draft202012Validator:
    """Of what a cluster of the oldest version that we support takes, by `apiVersion kind`."""
    if kind in CUSTOM:
        return jsonschema.Draft202012Validator(CUSTOM[kind])
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/$defs/{KUBERNETES['kinds'][kind]}", "$defs": KUBERNETES["$defs"]}
    )


def validate(manifest: Mapping[str, Any]) -> None:
    """Raises ValidationError for what a cluster would refuse or drop."""
    validator(f"{manifest['apiVersion']} {manifest['kind']}").validate(manifest)


def pods(folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for workload in workloads(folder):
        yield workload["metadata"]["name"], pod_of(workload)


@every_folder
def test_every_manifest_is_as_its_schema_has_it(folder: str) -> None:
    for manifest in rendered(folder):
        validate(manifest)


@pytest.mark.parametrize(
    ("folder", "kind", "path"),
    [
        ("overlays/gpu", "Deployment", ("spec", "template", "spec")),
        ("overlays/gpu", "PodDisruptionBudget", ("spec",)),
        ("overlays/gpu", "ScaledObject", ("spec", "advanced")),
        ("overlays/gpu", "PodMonitor", ("spec",)),
    ],
)
def test_a_misspelt_field_is_found(folder: str, kind: str, path: tuple[str, ...]) -> None:
    manifest = json.loads(json.dumps(of_kind(folder, kind)[0]))
    part = manifest
    for name in path:
        part = part[name]
    part["replicsa"] = 1
    with pytest.raises(jsonschema.ValidationError, match="replicsa"):
        validate(manifest)


@every_folder
def test_the_namespace_asks_for_restricted_pods_and_all_is_in_it(folder: str) -> None:
    for manifest in rendered(folder):
        if manifest["kind"] == "Namespace":
            assert manifest["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        else:
            assert manifest["metadata"]["namespace"] == "moderation"


@every_folder
def test_pods_are_restricted(folder: str) -> None:
    for workload in workloads(folder):
        assert_restricted(workload)


def assert_restricted(workload: Mapping[str, Any]) -> None:
    """As the Pod Security Standard `restricted` asks, and with a root that nothing writes."""
    name, pod = workload["metadata"]["name"], pod_of(workload)
    assert pod["automountServiceAccountToken"] is False, name
    assert pod["enableServiceLinks"] is False, name  # their variables would be unknown settings
    assert pod["securityContext"]["runAsNonRoot"] is True, name
    assert pod["securityContext"]["runAsUser"] > 0, name
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), name
    assert not [volume for volume in pod["volumes"] if "hostPath" in volume], name
    for container in containers(pod):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False, name
        assert security["capabilities"] == {"drop": ["ALL"]}, name
        assert security.get("readOnlyRootFilesystem") is True or name == "kafka", name


@every_folder
def test_containers_have_a_version_limits_and_probes(folder: str) -> None:
    for workload in workloads(folder):
        assert_bounded(workload)


def assert_bounded(workload: Mapping[str, Any]) -> None:
    """Each container names a version, requests, limits and, unless it ends by itself, probes."""
    pod = pod_of(workload)
    for container in containers(pod):
        assert re.search(r":(v?\d[\w.-]+|cpu|gpu)$", container["image"]), container["image"]
        for kind in ("requests", "limits"):
            assert {"cpu", "memory", "ephemeral-storage"} <= set(container["resources"][kind]), container["name"]
    if not workload["kind"].endswith("Job"):
        for container in pod["containers"]:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)


def test_a_gpu_worker_has_the_memory_to_stage_20_gb_of_weights() -> None:
    (worker,) = pod_of(named("overlays/gpu", "Deployment", "worker"))["containers"]
    assert int(worker["resources"]["requests"]["memory"].removesuffix("Gi")) * 2**30 > 1.3 * 20.6e9
    assert "PYTORCH_ALLOC_CONF=expandable_segments:True" in (ROOT / "Dockerfile").read_text()


@every_folder
def test_what_a_pod_refers_to_is_there(folder: str) -> None:
    there = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in rendered(folder)}
    keys = {(found["metadata"]["name"]): set(found["data"]) for found in of_kind(folder, "ConfigMap")}
    for name, pod in pods(folder):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for volume in volumes.values():
            if "configMap" in volume:
                assert volume["configMap"]["name"] in keys, name
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in there, name
        for container in containers(pod):
            assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes), name
            for entry in container.get("env", ()):
                if "valueFrom" in entry:
                    chosen = entry["valueFrom"]["configMapKeyRef"]
                    assert chosen["key"] in keys[chosen["name"]], name
        if "serviceAccountName" in pod:
            assert ("ServiceAccount", pod["serviceAccountName"]) in there


@every_folder
def test_a_pod_refers_to_no_other_secrets_and_keys_than_those_that_an_administrator_makes(folder: str) -> None:
    for name, pod in pods(folder):
        for volume in pod["volumes"]:
            if "secret" in volume:
                assert volume["secret"]["secretName"] in SECRETS, name
            for source in volume.get("projected", {}).get("sources", ()):
                keys = {item["key"] for item in source["secret"]["items"]}
                assert keys <= SECRETS[source["secret"]["name"]], name


def test_the_docs_make_each_secret_with_its_keys() -> None:
    for secret, keys in SECRETS.items():
        (command,) = re.findall(rf"create secret generic {secret} ((?:[^\n]*\\\n)*[^\n]*)", DEPLOY_DOC)
        assert set(re.findall(r"--from-(?:literal|file)=([\w.]+)=", command)) == keys
    for folder in SCALED:
        (login,) = of_kind(folder, "TriggerAuthentication")
        assert {(entry["name"], entry["key"]) for entry in login["spec"]["secretTargetRef"]} == {
            ("kafka", key) for key in SECRETS["kafka"]
        }


@every_overlay
def test_selectors_select_the_pods_they_are_for(folder: str) -> None:
    templates = {
        found["metadata"]["name"]: found["spec"]["template"]["metadata"]["labels"] for found in workloads(folder)
    }
    for workload in of_kind(folder, "Deployment", "StatefulSet"):
        assert matches(workload["spec"]["selector"], templates[workload["metadata"]["name"]])
    for name in ("worker", "console"):
        assert matches(named(folder, "PodDisruptionBudget", name)["spec"]["selector"], templates[name])
        for constraint in pod_of(named(folder, "Deployment", name))["topologySpreadConstraints"]:
            assert matches(constraint["labelSelector"], templates[name])
    for monitor in of_kind(folder, "PodMonitor"):
        assert matches(monitor["spec"]["selector"], templates[monitor["metadata"]["name"]])
    for service in of_kind(folder, "Service"):
        assert [name for name, labels in templates.items() if service["spec"]["selector"].items() <= labels.items()]
