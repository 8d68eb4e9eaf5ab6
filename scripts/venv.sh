#!/usr/bin/env bash
# Makes .venv from the hashed lock. uv is taken from PATH, else installed into an environment of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "Python 3.11 or newer is needed; '$python' is $("$python" -V 2>&1). Name another with PYTHON=..." >&2
  exit 2
}
if command -v uv >/dev/null; then
  uv=uv
else
  uv=.cache/uv/bin/uv
  if [ ! -x "$uv" ]; then
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
      if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
      else
        echo "Python's venv module is missing (Debian: apt-get install python3-venv); or install uv" >&2
        exit 2
      fi
    fi
    "$python" -m venv .cache/uv
    .cache/uv/bin/pip install --quiet --disable-pip-version-check uv
  fi
fi
echo "Installing the locked packages into .venv. The first time this takes some minutes, and on Linux about 3 GB." >&2
[ -x .venv/bin/python ] || "$uv" venv --quiet --python "$python" .venv
"$uv" pip sync --quiet --require-hashes --python .venv/bin/python requirements.lock
"$uv" pip install --quiet --no-deps --no-build-isolation --python .venv/bin/python --editable .
touch .venv/ready
