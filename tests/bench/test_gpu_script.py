"""scripts/gpu-bench.sh goes through from end to end where there is no GPU, on a tiny shape."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

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
def test_a_trial_on_the_cpu_answers_right_and_times_both_layouts() -> None:
    done = script("--tiny")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert [each["layout"] for each in printed["answers"]] == ["post_first", "policies_first"]
    for each in printed["answers"]:
        assert each["right"]
        assert 0 < each["mean_off"]["bfloat16_stock"] < 0.02
    assert printed["p50_ms_alone"].keys() == {"post_first", "policies_first"}
    assert printed["goals"] is None  # what is hoped for of a card says nothing of this
    assert printed["cases"]["8x300"]["posts_per_second"]["policies_first"] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    done = script()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gpu-bench: no GPU that torch can use; --tiny tries the script on the CPU\n"
