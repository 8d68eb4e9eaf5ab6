"""Makes the schemas beside it from the packages that ship them; run by hand when a version is raised.

    uv pip install --target P kubernetes-validate==1.37.0
    go mod download -json github.com/compose-spec/compose-go/v2@v2.16.2 github.com/kedacore/keda/v2@v2.21.0 \
        github.com/prometheus-operator/prometheus-operator@v0.85.0     # says each module's folder
    python tests/deploy/schemas/make.py P COMPOSE_GO KEDA PROMETHEUS_OPERATOR

All four are under the Apache licence 2.0. Descriptions are left out, and what no manifest of ours reaches.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
KUBERNETES = "1.32.0"  # the oldest that the manifests are for
KINDS = {
    "v1": ("ConfigMap", "Namespace", "PersistentVolumeClaim", "Secret", "Service", "ServiceAccount"),
    "apps/v1": ("Deployment", "StatefulSet"),
    "batch/v1": ("CronJob", "Job"),
    "networking.k8s.io/v1": ("Ingress", "NetworkPolicy"),
    "policy/v1": ("PodDisruptionBudget",),
}
PACKAGES = {"v1": "core.v1", "apps/v1": "apps.v1", "batch/v1": "batch.v1", "policy/v1": "policy.v1"}
CUSTOM = {
    "keda": ("keda.sh_scaledobjects", "keda.sh_triggerauthentications"),
    "operator": ("monitoring.coreos.com_podmonitors", "monitoring.coreos.com_prometheusrules"),
}


def main(validate: Path, compose_go: Path, keda: Path, operator: Path) -> None:
    """Write compose-spec.json, kubernetes.json and custom.json."""
    _write("compose-spec", json.loads((compose_go / "schema" / "compose-spec.json").read_text()))
    _write("kubernetes", _kubernetes(validate))
    folders = {"keda": keda / "config/crd/bases", "operator": operator / "example/prometheus-operator-crd"}
    _write("custom", dict(_custom(folders)))


def _kubernetes(validate: Path) -> dict[str, Any]:
    """`$defs`, and `kinds`: which of them is meant by `apiVersion kind`."""
    folder = validate / "kubernetes_validate/kubernetes-json-schema" / f"v{KUBERNETES}-local-strict"
    text = (folder / "_definitions.json").read_text().replace("/api/_definitions.json#", "#")
    everything = json.loads(text)["$defs"]
    kinds = {}
    for version, names in KINDS.items():
        package = PACKAGES.get(version, version.replace(".k8s.io", "").replace("/", "."))
        kinds |= {f"{version} {name}": f"io.k8s.api.{package}.{name}" for name in names}
    reached: dict[str, Any] = {}
    todo = list(kinds.values())
    while todo:
        name = todo.pop()
        if name not in reached:
            reached[name] = everything[name]
            todo += _references(everything[name])
    return {"kinds": kinds, "$defs": reached}


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(reference := schema.get("$ref"), str):
            yield reference.rpartition("/")[2]
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _custom(folders: dict[str, Path]) -> Iterator[tuple[str, Any]]:
    for source, names in CUSTOM.items():
        for name in names:
            definition = yaml.safe_load((folders[source] / f"{name}.yaml").read_text())["spec"]
            for version in definition["versions"]:
                key = f"{definition['group']}/{version['name']} {definition['names']['kind']}"
                yield key, _strict(version["schema"]["openAPIV3Schema"])


def _strict(schema: Any) -> Any:
    """With unknown fields refused, as `kubectl apply` warns of them; the API server would drop them."""
    if isinstance(schema, list):
        return [_strict(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(inner) for key, inner in schema.items()}
    if isinstance(made.get("properties"), dict) and not made.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


def _bare(value: object) -> object:
    """Without descriptions; a property of that name stays."""
    if isinstance(value, dict):
        kept = {key: inner for key, inner in value.items() if key != "description" or not isinstance(inner, str)}
        return {key: _bare(inner) for key, inner in kept.items()}
    return [_bare(inner) for inner in value] if isinstance(value, list) else value


def _write(name: str, schema: object) -> None:
    text = json.dumps(_bare(schema), separators=(",", ":"), sort_keys=True)
    (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
