#!/usr/bin/env bash
# A release of the version in moderation_service/__init__.py, into dist/: wheel, sdist, SBOM, checksums, provenance,
# and both container images where Docker answers. Checks first that the tag and the changelog name that version.
#   scripts/release.sh [--no-images]
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(command -v uv || echo .cache/uv/bin/uv) # where scripts/venv.sh has put it
fail() { echo "release: $1" >&2; exit 1; }

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' moderation_service/__init__.py)
revision=$(git rev-parse HEAD)
created=$(git log -1 --format=%cI)
[ -z "$(git status --porcelain)" ] || fail "the working tree has changes; commit or remove them"
grep -q "^## \[$version\]" CHANGELOG.md || fail "CHANGELOG.md has no section [$version]; name it and the day"
[ "$(git tag --points-at HEAD)" = "v$version" ] || fail "the commit's tag should be v$version, and no other"

export SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) # the same commit gives the same bytes
rm -rf dist
make .venv/ready
"$uv" build --quiet --build-constraints requirements.lock --out-dir dist
scripts/supply-chain.sh sbom
if [ "${1:-}" != --no-images ]; then
  docker version >/dev/null || fail "Docker does not answer; without images: --no-images"
  for flavour in cpu gpu; do
    docker build --build-arg "FLAVOUR=$flavour" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
      --build-arg "CREATED=$created" --tag "moderation-service:$version-$flavour" .
    docker image inspect --format '{{.Id}}' "moderation-service:$version-$flavour" > "dist/image-$flavour.digest"
  done
fi
.venv/bin/python scripts/provenance.py dist "$revision"
(cd dist && sha256sum -- * > SHA256SUMS)
ls dist
