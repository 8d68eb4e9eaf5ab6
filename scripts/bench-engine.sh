#!/usr/bin/env bash
# `python -m benchmarks.engine` beside a vLLM that serves the bundled model on the same CPU; its options are handed on.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/vllm.sh
name=pictogram-glm4v port=${PORT:-8017} folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server" || true; } 2>/dev/null; rm -rf "$folder"' EXIT
cp -r "moderation_service/demo/$name" "$folder/"
# Without this vLLM leaves the family's biases out, and says nothing.
sed -i.bak 's/"text_config": {/"text_config": {"attention_bias": true,/' "$folder/$name/config.json"
export HF_HUB_OFFLINE=1 VLLM_CPU_KVCACHE_SPACE=1 VLLM_NO_USAGE_STATS=1
.cache/vllm/bin/vllm serve "$folder/$name" --served-model-name "$name" --host 127.0.0.1 --port "$port" \
  --dtype float32 --max-model-len 1024 --enforce-eager --block-size 32 > "$folder/log" 2>&1 &
server=$!
until curl --silent --fail "http://127.0.0.1:$port/health"; do
  kill -0 "$server" 2>/dev/null || { tail -n 30 "$folder/log" >&2; exit 1; }
  sleep 1
done
.venv/bin/python -m benchmarks.engine --vllm "http://127.0.0.1:$port/v1" "$@"
