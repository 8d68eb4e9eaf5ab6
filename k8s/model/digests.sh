# digests.sh FOLDER: digest every file of a model once. Prints what SHA256SUMS should hold, and leaves FOLDER/.digests,
# with each file's size and time beside its digest: check.sh and workers take a file that still has both as digested.
set -eu
cd "$1"
work=$(mktemp -d)
find . -name .cache -prune -o -type f ! -path ./.digests -printf '%P\n' | sort > "$work/names"
xargs -d '\n' stat -c '%s %Y' < "$work/names" > "$work/stats"
xargs -d '\n' sha256sum < "$work/names" > "$work/sums"
paste -d ' ' "$work/stats" "$work/sums" > .digests
cat "$work/sums"
rm -r "$work"
