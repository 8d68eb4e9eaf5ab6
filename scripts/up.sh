#!/usr/bin/env bash
# Starts docker-compose.yml. On first use makes its secrets in secrets/, a user of the console and an API key.
set -euo pipefail
cd "$(dirname "$0")/.."
make_secret() { # NAME VALUE: containers read it as users of their own, so the folder alone is private
  [ -s "secrets/$1" ] || { printf '%s\n' "$2" > "secrets/$1" && chmod 444 "secrets/$1"; }
}
random() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

mkdir -p -m 700 secrets
for name in grafana_password postgres_password console_password vllm_key; do make_secret "$name" "$(random)"; done
make_secret database_url "postgresql://moderation:$(cat secrets/postgres_password)@postgres/moderation"
[ "${1:-}" = --secrets-only ] && exit 0

docker compose up --build --detach --wait
moderation() { docker compose exec -T console moderation "$@"; }
if [ ! -s secrets/api_key ]; then
  moderation users add admin --role admin < secrets/console_password
  make_secret api_key "$(moderation keys create first --scope judge --scope read --scope review)"
fi
cat <<'END'
console      http://127.0.0.1:8080   user admin, password in secrets/console_password; links to all else on its overview
HTTP API     http://127.0.0.1:8080   key in secrets/api_key
Grafana      http://127.0.0.1:3000   user admin, password in secrets/grafana_password
END
