# ruff: noqa: INP001 - a script, and no package
"""Renders k8s/ from charts/moderation, for those who apply it without Helm: `kubectl apply -k k8s/overlays/gpu`.

ConfigMaps are left to kustomize, which makes them of the same files and gives settings and model a hash in their name.
"""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "moderation"
HELM = shutil.which("helm") or str(ROOT / ".cache" / "kubernetes" / "helm")
OVERLAYS = {
    "cpu-demo": ("cpu", "demo"),
    "gpu": ("gpu", "ingress.enabled=true"),
    "vllm": ("vllm", "ingress.enabled=true"),
}
SHARED = {  # which overlays and jobs have in common
    "model/volume.yaml": ("PersistentVolumeClaim", "model"),
    "jobs/fetch-model/job.yaml": ("Job", "fetch-model"),
    "jobs/migrate/job.yaml": ("Job", "migrate"),
}
_HEAD = "# Made by scripts/render_k8s.py from charts/moderation: change that.\n"
_OF_HELM = ("helm.sh/", "checksum/", "app.kubernetes.io/managed-by")
_MAPS = ("settings", "model", "policies", "moderation-dashboards")
_ELSEWHERE = {*SHARED.values(), *(("ConfigMap", name) for name in _MAPS), ("NetworkPolicy", "migrate")}


def manifests(*values: str) -> list[dict[str, Any]]:
    """The chart's manifests without what only Helm needs, of files in values/ and, with a `=`, what `--set` takes."""
    command = [HELM, "template", "moderation", str(CHART), "--namespace", "moderation", "--kube-version", "1.32.0"]
    for value in values:
        command += ["--set", value] if "=" in value else ["--values", str(CHART / "values" / f"{value}.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - of this repository
    return [_bare(manifest) for manifest in yaml.load_all(done.stdout, yaml.CSafeLoader) if manifest]


def _bare(manifest: dict[str, Any]) -> dict[str, Any]:
    for metadata in (manifest["metadata"], manifest.get("spec", {}).get("template", {}).get("metadata", {})):
        for part in ("labels", "annotations"):
            kept = {name: value for name, value in metadata.pop(part, {}).items() if not name.startswith(_OF_HELM)}
            if kept:
                metadata[part] = kept
    return manifest


def rendered() -> dict[Path, str]:
    """The text of each file that is made."""
    files = {}
    for overlay, values in OVERLAYS.items():
        made = {(one["kind"], one["metadata"]["name"]): one for one in manifests(*values)}
        settings = made["ConfigMap", "settings"]["data"]
        folder = ROOT / "k8s" / "overlays" / overlay
        files[folder / "settings.env"] = _HEAD + "".join(f"{name}={value}\n" for name, value in settings.items())
        files[folder / "manifests.yaml"] = _text(one for key, one in made.items() if key not in _ELSEWHERE)
    made = {(one["kind"], one["metadata"]["name"]): one for one in manifests("vllm", "model.fetch=true")}
    for path, key in SHARED.items():
        files[ROOT / "k8s" / path] = _text([made[key]])
    return files


def _text(made: Iterable[dict[str, Any]]) -> str:
    return _HEAD + yaml.safe_dump_all(made, allow_unicode=True, sort_keys=False, width=120)


if __name__ == "__main__":
    for path, text in rendered().items():
        path.write_text(text, encoding="utf-8")
