#!/usr/bin/env bash
# Provides Azurite, a server of Azure's blob storage, for tests: prints the program that node runs.
#
# It comes from npm and is kept in ${TIDEMARK_TEST_CACHE:-/var/cache/tidemark-test}. Needs npm for the first call.
set -euo pipefail

version=3.35.0
cache=${TIDEMARK_TEST_CACHE:-/var/cache/tidemark-test}
home=$cache/azurite-$version
if [ ! -e "$home/.complete" ]; then
    mkdir -p "$cache"
    # one at a time: tests may run side by side
    exec 9>"$cache/.azurite-lock"
    flock 9
    if [ ! -e "$home/.complete" ]; then
        # a registry that does not answer once is asked again
        for pause in 2 10 0; do
            rm -rf "$home"
            mkdir -p "$home"
            (cd "$home" && npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$home" "azurite@$version" >/dev/null) && break
            [ $pause != 0 ] || exit 1
            sleep $pause
        done
        chmod -R a+rX "$home"
        touch "$home/.complete"
    fi
fi
echo "$home/node_modules/azurite/dist/src/blob/main.js"
