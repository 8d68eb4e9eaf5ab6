"""The files that deploy the service, read as their tools read them, and the settings that they come to."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from moderation_service.cli import cli
from moderation_service.settings import PREFIX, Settings, load_settings
from tests.conftest import skip_or_fail

ROOT = Path(__file__).parents[2]
DEPLOY_DOC = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs/how-to").glob("deploy-*.md")))
SERVICE = "moderation-service"  # the image
OVERLAYS = ["overlays/cpu-demo", "overlays/gpu", "overlays/vllm"]
SCALED = ["overlays/gpu", "overlays/vllm"]
FOLDERS = [*OVERLAYS, "jobs/fetch-model", "jobs/migrate"]
every_folder = pytest.mark.parametrize("folder", FOLDERS)
every_overlay = pytest.mark.parametrize("folder", OVERLAYS)
every_scaled = pytest.mark.parametrize("folder", SCALED)
_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


@cache
def compose() -> dict[str, Any]:
    """docker-compose.yml with no variable set."""
    text = _VARIABLE.sub(lambda found: found[2], (ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return yaml.safe_load(text.replace("$$", "$"))


@cache
def rendered(folder: str) -> list[dict[str, Any]]:
    """What `kubectl kustomize k8s/FOLDER` prints."""
    return render(ROOT, folder)


def render(root: Path, folder: str) -> list[dict[str, Any]]:
    """The same of a copy of the files."""
    done = subprocess.run([*_kustomize(), f"k8s/{folder}"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # a warning is of something deprecated
    return list(yaml.safe_load_all(done.stdout))


def _kustomize() -> list[str]:
    if kubectl := tool("kubectl"):
        return [kubectl, "kustomize"]
    if kustomize := tool("kustomize"):
        return [kustomize, "build"]
    skip_or_fail("neither kubectl nor kustomize is there to render k8s/ (scripts/kubernetes-tools.sh brings one)")
    return []


def tool(name: str) -> str | None:
    """Where a program is, installed or brought by scripts/kubernetes-tools.sh."""
    return shutil.which(name) or shutil.which(str(ROOT / ".cache/kubernetes" / name))


def of_kind(folder: str, *kinds: str) -> list[dict[str, Any]]:
    return [manifest for manifest in rendered(folder) if manifest["kind"] in kinds]


def named(folder: str, kind: str, name: str) -> dict[str, Any]:
    (found,) = (manifest for manifest in of_kind(folder, kind) if manifest["metadata"]["name"] == name)
    return found


def workloads(folder: str) -> list[dict[str, Any]]:
    return workloads_of(rendered(folder))


def workloads_of(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in manifests if one["kind"] in {"Deployment", "StatefulSet", "Job", "CronJob"}]


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items()


def template_of(workload: Mapping[str, Any]) -> dict[str, Any]:
    """The pod's template, of a CronJob that of its jobs."""
    spec = workload["spec"]
    return spec.get("jobTemplate", {}).get("spec", spec)["template"]


def pod_of(workload: Mapping[str, Any]) -> dict[str, Any]:
    return template_of(workload)["spec"]


def containers(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


@dataclass(frozen=True)
class Started:
    """A container of the service: what it is told, and where files are put into it."""

    where: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: frozenset[str]

    def settings(self, monkeypatch: pytest.MonkeyPatch, scratch: Path) -> Settings:
        """The settings as the service reads them; a mounted secret is a file with some address in it."""
        for name in [name for name in os.environ if name.startswith(PREFIX)]:
            monkeypatch.delenv(name)
        secret = scratch / "secret"
        secret.write_text("postgresql://some:words@here/name")
        for name, value in self.environment.items():
            if name.startswith(PREFIX):
                monkeypatch.setenv(name, str(secret) if name.endswith("_FILE") else value)
        return load_settings()

    def unmounted(self) -> list[str]:
        """Paths in the environment that lie under no mount."""
        paths = [value for value in self.environment.values() if value.startswith("/")]
        return [path for path in paths if not self.mounts & {path, *map(str, PurePosixPath(path).parents)}]


def parse(arguments: tuple[str, ...]) -> None:
    """Read a command line as `moderation` does. Raises CycloptsError for what it does not know."""
    assert arguments
    cli.parse_args([*arguments], exit_on_error=False, print_error=False)


def in_compose() -> Iterator[Started]:
    """The service's containers in docker-compose.yml."""
    for name, service in compose()["services"].items():
        if service["image"].startswith(f"{SERVICE}:"):
            mounts = {volume.split(":")[1] for volume in service.get("volumes", ())}
            mounts |= {f"/run/secrets/{secret}" for secret in service.get("secrets", ())}
            yield Started(name, tuple(service.get("command", ("run",))), service["environment"], frozenset(mounts))


def in_kubernetes(folder: str) -> Iterator[Started]:
    """The service's containers in what a folder of k8s/ renders, but those with a command of their own."""
    return started_by(rendered(folder), folder)


def started_by(manifests: list[dict[str, Any]], where: str) -> Iterator[Started]:
    """The same of manifests."""
    maps = {found["metadata"]["name"]: found["data"] for found in manifests if found["kind"] == "ConfigMap"}
    for workload in workloads_of(manifests):
        for container in containers(pod_of(workload)):
            if container["image"].startswith(f"{SERVICE}:") and "command" not in container:
                environment: dict[str, str] = {}
                for source in container.get("envFrom", ()):
                    environment |= maps[source["configMapRef"]["name"]]
                for entry in container.get("env", ()):
                    environment[entry["name"]] = _value(entry, maps)
                mounts = frozenset(mount["mountPath"] for mount in container["volumeMounts"])
                yield Started(f"{where}: {workload['metadata']['name']}", tuple(container["args"]), environment, mounts)


def _value(entry: Mapping[str, Any], maps: Mapping[str, Mapping[str, str]]) -> str:
    if "value" in entry:
        return entry["value"]
    chosen = entry["valueFrom"]["configMapKeyRef"]
    return maps[chosen["name"]][chosen["key"]]


def worker_settings(folder: str, monkeypatch: pytest.MonkeyPatch, scratch: Path) -> Settings:
    (worker,) = (started for started in in_kubernetes(folder) if started.arguments == ("run",))
    return worker.settings(monkeypatch, scratch)
