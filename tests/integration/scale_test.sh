#!/usr/bin/env bash
# Fifty agents, each on a connection of its own from another process, do a job of 20,000 ranges: each range is accepted
# once and listed once, status says who read how many, and the coordinator needs little memory. The agents are
# tests/bench/fleet; tests/bench/scale.sh is the same with a thousand and a million, and tells times.
set -euo pipefail
# shellcheck source=tests/lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=tests/lib/memory.sh
. "$(dirname "$0")/../lib/memory.sh"
FLEET_DIR=$T FLEET_URL=tcp://127.0.0.1:$AGENT_PORT
# shellcheck source=tests/lib/fleet.sh
. "$(dirname "$0")/../lib/fleet.sh"
AGENTS=50 RANGES=20000 RANGE_BYTES=$((128 * 1048576))

connected() { [ "$(tidemark nodes -o json | jq '[.items[] | select(.connected)] | length')" -eq "$1" ]; }
begin() { # NAME FROM
    fleet_backup "$1" big "$2" >"$T/$1.yaml"
    expect_out "backup/$1 created" tidemark apply -f "$T/$1.yaml"
}
complete() { # NAME
    tidemark wait backup "$1" --for=Complete --timeout=600s >/dev/null || fail "$1: $(tidemark get backup "$1" -o json)"
    tidemark get backup "$1" -o json >"$T/$1.json"
    expect_json "$T/$1.json" .status.phase Complete
    expect_json "$T/$1.json" .status.progress.rangesTotal "$RANGES"
    expect_json "$T/$1.json" .status.progress.rangesDone "$RANGES"
    expect_json "$T/$1.json" .status.progress.bytesDone "$((RANGES * RANGE_BYTES))"
    expect_json "$T/$1.json" '[.status.nodes[].ranges] | add' "$RANGES"
    expect_json "$T/$1.json" '[.status.nodes[].bytes] | add' "$((RANGES * RANGE_BYTES))"
}

coordinator_start
memory_watch "$COORDINATOR_PID" coordinator
FLEET_EACH=25
fleet_start big big "$AGENTS" --ranges "$RANGES" --rate 5000
# shellcheck disable=SC2086 # pids
printf '%s\n' ${FLEETS[big]} >>"$T/pids"
wait_for 60 connected "$AGENTS"

step "all $AGENTS nodes read a snapshot of $RANGES ranges"
begin all any
complete all
expect_json "$T/all.json" '.status.nodes | length' "$AGENTS"
expect_json "$T/all.json" '[.status.nodes[].node] | unique | length' "$AGENTS"

step "what the agents saw"
fleet_stop big || fail "$(cat "$T"/big-*.log)"
expect_out 0 fleet_sum big violations
expect_out 1 fleet_sum big committed
expect_out "$RANGES" fleet_sum big accepted
expect_out 0 fleet_sum big lost
memory_end
coordinator_kill TERM
memory_below coordinator $((32 * 1024))
