"""scripts/gpu-bench.sh goes through from end to end where there is no GPU, on a tiny shape."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from moderation_service.engine.layouts import LAYOUTS
from tests.line.service import environment

ROOT = Path(__file__).parents[2]


def script(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["scripts/gpu-bench.sh", *options],
        cwd=ROOT,
        env=environment(PYTHON=sys.executable, OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(300)
def test_a_trial_on_the_cpu_answers_right_and_ends_every_part(tmp_path: Path) -> None:
    done = script("--tiny", "--output", str(tmp_path / "figures.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    *names, last = (line["part"] for line in lines)
    assert last == "summary"
    assert lines[-1]["failed"] == {}
    assert lines[-1]["skipped"].keys() == {"fp8"}
    assert "compute capability 8.9" in lines[-1]["skipped"]["fp8"]
    whole = json.loads((tmp_path / "figures.json").read_text())
    parts = whole["parts"]
    assert [*parts, *whole["skipped"]] == sorted(names, key=lambda name: name in whole["skipped"])
    assert whole["left"] == []
    assert whole["goals"] is None  # what is hoped for of a card says nothing of this
    for layout in LAYOUTS:
        answers = parts[f"answers.tiny.{layout}"]
        assert answers["right"]
        assert 0 < answers["mean_off"]["bfloat16_stock"] < 0.02
        assert parts["layouts.8x300"][layout]["posts_per_second"] > 0
        assert parts["alone"][layout]["p50_ms"] > 0
        assert parts[f"kafka.{layout}"]["posts"] == 3
    assert parts["prefill"]["max_abs_score_difference"] < 1e-4
    assert parts["generate"]["posts_per_second"] > 0
    for kind in ("int8", "int8_dynamic"):
        assert 0 < parts[kind]["mean_abs_score_difference"] < 0.1


def test_what_the_budget_leaves_no_time_for_is_named_and_nothing_passes_for_checked(tmp_path: Path) -> None:
    done = script("--tiny", "--budget", "0", "--output", str(tmp_path / "figures.json"))
    assert done.returncode == 1, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["skipped"]["kafka.post_first"] == "the budget of 0 s was spent"
    assert json.loads((tmp_path / "figures.json").read_text())["skipped"] == summary["skipped"]


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    done = script()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gpu-bench: no GPU that torch can use; --tiny tries the script on the CPU\n"
