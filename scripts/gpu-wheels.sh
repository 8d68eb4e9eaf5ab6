#!/usr/bin/env bash
# Fills a folder with what `scripts/gpu-bench.sh --wheels FOLDER` lacks on a GPU machine without network that has Python
# 3.12 on x86-64 Linux, torch, torchvision and transformers: wheels of the locked versions, their hashes checked.
#
#   scripts/gpu-wheels.sh FOLDER
set -euo pipefail
folder=$(realpath -m "${1:?the folder to fill}")
cd "$(dirname "$0")/.."
names="annotated-types pydantic pydantic-core pydantic-settings python-dotenv typing-inspection structlog"
kafka="aiokafka async-timeout confluent-kafka cramjam phonenumbers python-stdnum" # without them: all but Kafka to Kafka
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
awk -F == -v names=" $names $kafka " '/^[a-z]/ { chosen = index(names, " " $1 " ") } chosen && !/^ *#/' \
  requirements.lock >"$scratch/locked"
platforms=()
for glibc in 1 2010 2014 _2_17 _2_24 _2_27 _2_28; do platforms+=(--platform "manylinux${glibc}_x86_64"); done
python3 -m venv "$scratch/venv" # an environment that uv made has no pip
"$scratch/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
  --implementation cp --python-version 3.12 "${platforms[@]}" --dest "$folder" --requirement "$scratch/locked"
du -sh "$folder"
