# check.sh FOLDER SUMS: whether FOLDER holds the files of SUMS, each with its digest, and no other.
set -eu
cd "$1"
if ! grep -q '[0-9a-f]' "$2"; then
  echo "SHA256SUMS names no file: fill k8s/model/SHA256SUMS in, docs/deploy.md says how" >&2
  exit 1
fi
sha256sum --check --strict --quiet "$2"
there=$(find . -name .cache -prune -o -type f -printf '%P\n' | sort)
named=$(cut -c67- "$2" | sed 's#^\./##' | sort)
if [ "$there" != "$named" ]; then
  echo "$1 holds other files than SHA256SUMS names:" $there >&2
  exit 1
fi
echo "all $(grep -c . "$2") files of $1 are as they should be"
