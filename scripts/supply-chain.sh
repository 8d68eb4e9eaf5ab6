#!/usr/bin/env bash
# audit: known holes in what the lock names, by PyPI's advisories. sbom: all of it as CycloneDX JSON.
# Each tool runs in a throw-away environment of its own, so that neither is among what it looks at.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(command -v uv || echo .cache/uv/bin/uv) # where scripts/venv.sh has put it
case ${1:?audit or sbom} in
  audit) # strict: what can't be looked up has not passed
    exec "$uv" tool run --python .venv/bin/python pip-audit==2.10.1 \
      --requirement requirements.lock --require-hashes --disable-pip --strict --progress-spinner off
    ;;
  sbom)
    mkdir -p dist
    "$uv" tool run --python .venv/bin/python --from cyclonedx-bom==7.5.0 cyclonedx-py environment \
      --pyproject pyproject.toml --mc-type application --output-reproducible --of JSON \
      --output-file dist/sbom.cdx.json .venv/bin/python
    echo "dist/sbom.cdx.json"
    ;;
  *) echo "unknown: '$1'" >&2; exit 2 ;;
esac
