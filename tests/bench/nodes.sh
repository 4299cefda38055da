#!/usr/bin/env bash
# How long a snapshot takes that three nodes read, each limited to RATE MiB/s, when one is killed or stands still after a
# third of it; beside the time that two nodes alone would need at least. Prints times and the bound
# 1.2 x bytes / (2 x rate) + 10 s; decides nothing.
#
#   BENCH_SCALE=30 (pgbench scale)  BENCH_RATE=10  BUILD=build
set -euo pipefail
# shellcheck source=tests/lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=tests/lib/nodes.sh
. "$(dirname "$0")/../lib/nodes.sh"
SCALE=${BENCH_SCALE:-30} RATE=${BENCH_RATE:-10}

status() { tidemark get backup "$1" -o json | jq -r "$2"; }
third_done() { status "$1" '.status.progress | .bytesDone * 3 >= .bytesTotal and .bytesTotal > 0' | grep -qx true; }
measure() { # NAME COMMAND…: what happens after a third
    local name=$1 bytes
    shift
    printf 'apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: %s}\nspec:\n  local: {path: %s}\n  br: {cluster: test, concurrency: 2, rateLimit: %s}\n  rangeSize: 8MiB\n  backupFrom: any\n' \
        "$name" "$T/repo" "$RATE" >"$T/$name-spec.yaml"
    tidemark apply -f "$T/$name-spec.yaml" >/dev/null
    wait_for 120 third_done "$name"
    "$@"
    tidemark wait backup "$name" --for=Complete --timeout=600s
    bytes=$(status "$name" .status.progress.bytesTotal)
    status "$name" '.status | "\(.timeStarted) \(.timeCompleted)"' | {
        read -r from to
        from=$(date -d "$from" +%s%3N) to=$(date -d "$to" +%s%3N)
        awk -v b="$bytes" -v r="$RATE" -v t="$((to - from))" -v n="$name" 'BEGIN {
            printf "%s: %.1f s for %.0f MiB; bound %.1f s; two nodes alone %.1f s\n", n, t / 1000, b / 1048576,
                1.2 * b / 1048576 / (2 * r) + 10, b / 1048576 / (2 * r)}'
    }
    status "$name" '.status.nodes | map("\(.node) \(.bytes / 1048576 | floor) MiB") | join(", ")'
}
stand_still() {
    kill -STOP "${AGENTS[3]}"
    pkill -STOP -P "${AGENTS[3]}" || true
}

cluster_make 15 3
pgbench -i -q -s "$SCALE" postgres >/dev/null 2>&1
sql postgres -c checkpoint
cluster_daemons 3
measure nobody true
measure killed agent_off 2 KILL
agent_on 2
wait_for 20 nodes_are 3
measure stalled stand_still
kill -CONT "${AGENTS[3]}"
