#!/usr/bin/env bash
# Installs what a target wants from the system, with apt where this is root on Debian; elsewhere says what is missing.
set -euo pipefail
case ${1:?test or demo-model} in
  test)
    programs=(java mvn prometheus amtool chromium npm jq)
    packages=(chromium default-jre-headless fonts-noto-cjk jq maven npm postgresql prometheus prometheus-alertmanager)
    ;;
  demo-model) programs=(g++); packages=(fonts-noto-color-emoji g++ python3-dev) ;;
  *) echo "unknown set '$1'" >&2; exit 2 ;;
esac

missing=()
for program in ${programs[@]+"${programs[@]}"}; do command -v "$program" >/dev/null || missing+=("$program"); done
if [ "$1" = test ] && ! command -v initdb >/dev/null && ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
  missing+=(initdb) # Debian keeps it off the path
fi
if [ "$1" = demo-model ] && [ ! -e /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf ]; then
  missing+=(NotoColorEmoji.ttf)
fi
if [ "$1" = test ] && [ ! -e /usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc ]; then
  missing+=(NotoSansCJK-Regular.ttc)
fi
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
else
  echo "missing: ${missing[*]} (Debian: apt-get install ${packages[*]})" >&2
  [ "$1" = test ] # whose tests skip with the reason; training stops here, unless --font names the font
fi
