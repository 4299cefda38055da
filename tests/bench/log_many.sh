#!/usr/bin/env bash
# Months of log on a disk: a repository whose log has 500,000 chunk files in one directory is listed by
# `tidemark-agent list`. Prints time and the highest resident set; decides nothing.
#
#   BENCH_DIR=/var/tmp  BUILD=build
set -euo pipefail
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$BUILD" != build ] || make -s all
make -s BUILD="$BUILD" "$BUILD/tests/unit/proto/repo/logs_large_test"

bench_init log-many
mkdir "$dir/months"
TIDEMARK_LARGE_DIR=$dir/months "$BUILD/tests/unit/proto/repo/logs_large_test" >"$dir/log/made.log" 2>&1 ||
    die "$(cat "$dir/log/made.log")"
say "# $(find "$dir/months" -path '*/chunk/*' | wc -l) chunk files"
for cache in cold warm warm; do
    [ "$cache" = warm ] || { sync && echo 2 >/proc/sys/vm/drop_caches; } 2>/dev/null || cache='cold (but caches cannot be dropped here)'
    tests/bench/clock.py "$dir/log/time" "$BUILD/tidemark-agent" list --storage "file://$dir/months" \
        >"$dir/log/list" 2>&1 || die "$(cat "$dir/log/list")"
    read -r wall cpu peak <"$dir/log/time"
    say "list, $cache: wall $wall ms  cpu $cpu ms  peak_rss_kib $peak  (targets 5000 ms, 65536)"
done
grep -A1 '^RECOVERABLE\|^[^ ].*RECOVERABLE FROM' "$dir/log/list" | tail -n 1
