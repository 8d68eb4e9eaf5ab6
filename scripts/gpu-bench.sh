#!/usr/bin/env bash
# On one H100 or H200, offline: bfloat16 against float32 on small shapes, then posts a second of the 9B's shape with
# random weights against the roofline. JSON on standard output. `--tiny` tries all of it on a CPU.
# Needs torch, torchvision and transformers (2.11 and 5.17, or newer) with the service's own dependencies.
set -euo pipefail
cd "$(dirname "$0")/.."
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONPATH=.
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python3
exec "$python" scripts/gpu_bench.py "$@"
