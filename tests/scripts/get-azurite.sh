#!/usr/bin/env bash
# Provides Azurite, a server of Azure's blob storage, for tests: prints the program that node runs.
#
# It comes from npm and is kept in ${TIDEMARK_TEST_CACHE:-/var/cache/tidemark-test}. Needs npm for the first call.
set -euo pipefail

version=3.35.0
cache=${TIDEMARK_TEST_CACHE:-/var/cache/tidemark-test}
home=$cache/azurite-$version
# shellcheck source=tests/scripts/keep.sh
. "$(dirname "$0")/keep.sh"

fill() {
    (cd "$home" && npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$home" "azurite@$version" >/dev/null)
}
keep "$home" "$cache/.azurite-lock" fill
echo "$home/node_modules/azurite/dist/src/blob/main.js"
