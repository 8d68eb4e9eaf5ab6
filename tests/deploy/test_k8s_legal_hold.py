"""The component k8s/components/legal-hold, which an overlay adds that has a route for child safety."""

import re
import shutil
from pathlib import Path

import pytest

from moderation_service.settings import load_settings
from tests.deploy.files import ROOT, pod_of, render
from tests.deploy.test_k8s_manifests import validate

COMPONENT = "../../components/legal-hold"
MANUAL = (ROOT / "docs/how-to/child-safety.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("overlay", ["gpu", "vllm"])
def test_workers_and_consoles_share_the_volume_and_have_the_key(
    overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("k8s", "policies", "observability"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    chosen = tmp_path / "k8s/overlays" / overlay / "kustomization.yaml"
    text = chosen.read_text(encoding="utf-8")
    chosen.write_text(text.replace("components:\n", f"components:\n  - {COMPONENT}\n"), encoding="utf-8")
    manifests = render(tmp_path, f"overlays/{overlay}")
    for manifest in manifests:
        validate(manifest)
    by_name = {(one["kind"], one["metadata"]["name"].partition("-")[0]): one for one in manifests}
    settings = by_name["ConfigMap", "settings"]["data"]
    claim = by_name["PersistentVolumeClaim", "legal"]["metadata"]
    folder, key = (settings[f"MODERATION_CHILD_SAFETY__HOLD_{name}"] for name in ("PATH", "KEY_FILE"))
    for name in ("worker", "console"):
        pod = pod_of(by_name["Deployment", name])
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        (container,) = (one for one in pod["containers"] if one["name"] == name)
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        held = volumes[mounts[folder]["name"]]["persistentVolumeClaim"]["claimName"]
        assert (held, claim["namespace"], mounts[folder].get("readOnly")) == (claim["name"], "moderation", None)
        secret = volumes[mounts[str(Path(key).parent)]["name"]]["secret"]
        assert (secret["secretName"], mounts[str(Path(key).parent)]["readOnly"]) == ("legal-hold", True)
    (made,) = re.findall(r"create secret generic legal-hold --from-file=(\w+)=", MANUAL)
    assert made == Path(key).name
    (tmp_path / "key").write_text("x")
    monkeypatch.setenv("MODERATION_CHILD_SAFETY__HOLD_PATH", folder)
    monkeypatch.setenv("MODERATION_CHILD_SAFETY__HOLD_KEY_FILE", str(tmp_path / "key"))
    assert load_settings().child_safety.hold_path == Path(folder)
