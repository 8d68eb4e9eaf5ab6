"""charts/moderation as Helm renders it."""

import subprocess
from functools import cache
from typing import Any

import yaml

from tests.conftest import skip_or_fail
from tests.deploy.files import ROOT, tool

CHART = ROOT / "charts" / "moderation"
OLDEST = "1.32.0"  # of Kubernetes that the chart is for


@cache
def chart(*values: str) -> list[dict[str, Any]]:
    """The manifests of values: names of files in values/, later ones on top, and `PATH=VALUE` as for `--set`."""
    done = helm("template", *values)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.load_all(done.stdout, yaml.CSafeLoader) if manifest]


def refusal(*values: str) -> str:
    """What Helm says against such values."""
    done = helm("template", *values)
    assert done.returncode != 0
    return done.stderr


def helm(command: str, *values: str) -> subprocess.CompletedProcess[str]:
    """`helm template`, or `lint`, or a dry `install`."""
    program = tool("helm")
    if program is None:
        skip_or_fail("helm is not there to render the chart (scripts/kubernetes-tools.sh brings it)")
    arguments = {
        "template": ["template", "moderation", CHART, "--kube-version", OLDEST],
        "lint": ["lint", CHART, "--strict", "--kube-version", OLDEST],
        "install": ["install", "moderation", CHART, "--dry-run=client"],
    }[command]
    for value in values:
        arguments += ["--set", value] if "=" in value else ["--values", CHART / "values" / f"{value}.yaml"]
    return subprocess.run([program, *arguments, "-n", "moderation"], capture_output=True, text=True, check=False)
