#!/usr/bin/env bash
# The only primary is killed and its disk is gone, and the coordinator with it: storage alone has everything up to the
# checkpoint that was published; and of an idle primary it tells the last safe moment, not more than a minute old.
#
#   log_lost_primary_test.sh [MAJOR…]     default: 15
. "$(dirname "$0")/../lib/harness.sh"
. "$(dirname "$0")/../lib/nodes.sh"

all_is_lost() {
    host_dies 1
    coordinator_kill KILL
    rm -rf "$T/coordinator" "$T/agent-1"
}
start() { # MAJOR
    cluster_make "$1" 1
    cluster_daemons 1
    tidemark log start wal --cluster test --storage "file://$T/repo" --flush-interval 1s >/dev/null
    tidemark backup full --cluster test --storage "file://$T/repo" >/dev/null
}
moment_of_list() { agent_list | jq -r '.recoverable | map(.to) | max'; }

under_load() {
    local t0 t1
    start "$1"
    step "$1: killed under load"
    writer_start postgres
    ledger_start 1 3
    sleep 3
    mkdir "$T/promised"
    cp "$T"/acked-* "$T/promised"
    t0=$EPOCHREALTIME
    wait_safe 1
    t1=$EPOCHREALTIME
    all_is_lost
    ledger_stop
    wait "$WRITER_PID" 2>/dev/null || true
    printf '   %s rows were promised after %s s; %s were acknowledged in the end\n' "$(cat "$T"/promised/* | grep -c .)" \
        "$(python3 -c "print(round($t1 - $t0, 1))")" "$(acknowledged)"
    cp "$T"/promised/* "$T" # what came later may be lost
    t0=$EPOCHREALTIME
    restore_begin latest
    printf '   restored and started after %s s\n' "$(python3 -c "print(round($EPOCHREALTIME - $t0, 1))")"
    all_acknowledged_in "$RESTORED_PORT"
    restore_end
    rm -rf "$T/promised" "$T/repo" "$T"/gone-* "$T"/acked*
}
idle() {
    local held moment now
    start "$1"
    step "$1: killed after it was idle"
    ledger_start 1 2
    sleep 1
    ledger_stop
    sleep 40
    held=$(ledger_sum "$(port_of 1)")
    all_is_lost
    now=$(date +%s)
    moment=$(moment_of_list)
    printf '   safe to %s, which was %s s before\n' "$moment" "$((now - $(date -d "$moment" +%s)))"
    [ "$((now - $(date -d "$moment" +%s)))" -le 60 ] || fail "list tells $moment"
    expect_out "$held" restore_to "time:$moment"
    rm -rf "$T/repo" "$T"/gone-* "$T"/acked*
}
for major in "${@:-15}"; do
    under_load "$major"
    idle "$major"
done
