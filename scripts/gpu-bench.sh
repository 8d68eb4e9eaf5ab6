#!/usr/bin/env bash
# On one GPU (H100 or H200), without network, in under nine minutes: bfloat16 against float32 on small shapes, then the
# 9B's shape with random weights: posts a second against the roofline, one post alone, other ways to ask, quantized
# weights, and from Kafka to Kafka through the embedded broker. Each part prints a line of JSON as it ends.
#
#   scripts/gpu-bench.sh [--wheels FOLDER] [--output FILE] [--budget SECONDS] [--posts N] [--tiny]
#
# --tiny tries all of it on a CPU. Needs torch, torchvision and transformers (2.11 and 5.17, or newer). What else is
# missing is installed for the run from FOLDER, which scripts/gpu-wheels.sh fills.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONPATH=. TMPDIR=$scratch
export PYTORCH_ALLOC_CONF=expandable_segments:True # as the image sets it
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python3
if [ "${1:-}" = --wheels ]; then
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --disable-pip-version-check \
    --root-user-action ignore --target "$scratch/site" "$2"/*.whl
  PYTHONPATH=.:$scratch/site
  shift 2
fi
"$python" -m benchmarks.gpu "$@"
