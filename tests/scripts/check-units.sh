#!/usr/bin/env bash
# The systemd files as they would be installed: accepted by systemd-analyze without a word, and as hardened as promised.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v systemd-analyze >/dev/null || { echo "skipped: no systemd-analyze here"; exit 77; }

build=${TIDEMARK_BUILD:-build}
case $build in /*) ;; *) build=$PWD/$build ;; esac
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for unit in systemd/*.service.in; do
    sed "s|@BINDIR@|$build|g" "$unit" >"$dir/$(basename "$unit" .in)"
done
cp "$dir/tidemark-agent@.service" "$dir/tidemark-agent@root.service" # a user that exists everywhere

check() { # UNIT, greatest exposure allowed (0 to 100)
    local said
    # verify looks for the executable and the user, too
    said=$(SYSTEMD_UNIT_PATH="$dir:" systemd-analyze verify --recursive-errors=no "$dir/$1" 2>&1) ||
        { echo "$1: $said"; exit 1; }
    [ -z "$said" ] || { echo "$1: $said"; exit 1; }
    systemd-analyze security --offline=true --threshold="$2" --no-pager "$dir/$1" >"$dir/out" 2>&1 ||
        { cat "$dir/out"; echo "$1 is more exposed than $2"; exit 1; }
    echo "$1: $(tail -n 1 "$dir/out")"
}
check tidemark-coordinator.service 20
check tidemark-agent@root.service 30
