# check.sh FOLDER SUMS: whether FOLDER holds the files of SUMS, each with its digest, and no other.
# Files are not digested again that have the size and time which digests.sh found them with.
set -eu
cd "$1"
if ! grep -q '[0-9a-f]' "$2"; then
  echo "SHA256SUMS names no file: set model.sha256sums, or fill k8s/model/SHA256SUMS in; docs/how-to/deploy-kubernetes.md says how" >&2
  exit 1
fi
unchanged() {
  [ -f .digests ] && [ "$(cut -d ' ' -f 3- .digests)" = "$(cat "$1")" ] &&
    [ "$(cut -d ' ' -f 5- .digests | xargs -d '\n' stat -c '%s %Y')" = "$(cut -d ' ' -f 1,2 .digests)" ]
}
how="as they were when they were fetched"
if ! unchanged "$2"; then
  sha256sum --check --strict --quiet "$2"
  how="as they should be"
fi
there=$(find . -name .cache -prune -o -type f ! -path ./.digests -printf '%P\n' | sort)
named=$(cut -c67- "$2" | sed 's#^\./##' | sort)
if [ "$there" != "$named" ]; then
  echo "$1 holds other files than SHA256SUMS names:" $there >&2
  exit 1
fi
echo "all $(grep -c . "$2") files of $1 are $how"
