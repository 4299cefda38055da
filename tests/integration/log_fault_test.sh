#!/usr/bin/env bash
# A log backup under load to which everything happens that ends processes or takes storage and coordinator away. What
# must hold afterwards: one unbroken chain, byte for byte the source's log, and a restore that has everything that was
# acknowledged before the published checkpoint. tests/fault has the long rounds.
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/log_kill.sh"

error_is() { # TEXT; with node, stage and since when
    of_wal '.status.lastError | select(.node == "db-a" and (.stage | length) > 0 and (.since | length) >= 20) | .message' |
        grep -F "$1"
}
no_error() { [ "$(of_wal '.status.lastError // "none"')" = none ]; }
slot_keeps() { sql postgres -c "select restart_lsn <= '$1'::pg_lsn and wal_status = 'reserved' from pg_replication_slots where slot_name ~ '^tidemark_(?!b_)'"; }
told_within() { # SECONDS TEXT: a measurement on a machine that does other things too
    local began=$SECONDS
    wait_for "$1" error_is "$2"
    [ $((SECONDS - began)) -le "$1" ] || fail "told after $((SECONDS - began)) s: $(of_wal .status.lastError)"
}
stored_safely() {
    local mark
    mark=$(now_by_source)
    wait_for 30 is_safe "$mark"
}

LOAD=100
log_source
truncate -s 300M "$T/disk.img" # a disk of its own: full soon, and it can be taken away
mkfs.ext4 -q -F -m 0 "$T/disk.img"
disk_mount() { mount -o loop "$T/disk.img" "$T/repo"; }
disk_mount
chown postgres:postgres "$T/repo"
daemons_start "$T/source"
tidemark log start wal --cluster test --storage "file://$T/repo" --flush-interval 500ms >/dev/null
tidemark backup full --cluster test --storage "file://$T/repo" >/dev/null
ledger_start

step "12 kills of runner and agent"
LONGEST_MS=1200 kill_rounds 12
stored_safely
safe=$(of_wal .status.logCheckpointTs)
copy_repo "$T/frozen"
ledger_survives "$T/frozen" "$safe"
rm -rf "$T/frozen"

step "storage is full: said within 15 s, the source keeps the log; room again: everything follows"
fallocate -l "$(stat -f -c '%a * %S' "$T/repo" | xargs -I{} sh -c 'echo $(({}))')" "$T/repo/.filler" 2>/dev/null || true
dd if=/dev/zero of="$T/repo/.filler2" bs=4k 2>/dev/null || true
told_within 15 "No space left on device"
before=$(of_wal .status.logCheckpointPosition)
sleep 2
[ "$(slot_keeps "$before")" = t ] || fail "the slot is at $(sql postgres -c "select restart_lsn, wal_status from pg_replication_slots"), stored is $before"
rm "$T/repo/.filler" "$T/repo/.filler2"
stored_safely
wait_for 15 no_error

step "storage is unmounted: said within 15 s, nothing is stored where it was mounted; back: everything follows"
umount -l "$T/repo"
told_within 15 "storage "
sleep "${AWAY_S:-8}"
before=$(of_wal .status.logCheckpointPosition)
[ "$(slot_keeps "$before")" = t ] || fail "the slot is at $(sql postgres -c "select restart_lsn, wal_status from pg_replication_slots"), stored is $before"
agent_kill # and the next one must not begin anew in the empty directory
agent_start
told_within 25 "is empty, though log up to"
[ -z "$(find "$T/repo" -mindepth 1 -type f)" ] || fail "stored below the mount point: $(find "$T/repo" -type f)"
disk_mount
stored_safely
wait_for 15 no_error

step "the coordinator is away, the agent starts anew meanwhile: the log goes on"
coordinator_kill
stored_bytes() { find "$T/repo" -path '*/chunk/*' -type f | wc -l; }
more_stored() { [ "$(stored_bytes)" -gt "$1" ]; }
wait_for 10 more_stored "$(stored_bytes)"
agent_kill
agent_start
wait_for 20 more_stored "$(($(stored_bytes) + 2))"
mark=$(now_by_source)
sleep 2
began=$SECONDS
coordinator_start
wait_for 10 is_safe "$mark"
[ $((SECONDS - began)) -le 10 ] || fail "the checkpoint was shown $((SECONDS - began)) s after the coordinator's start only"
[ "$(of_wal .status.phase)" = Running ] || fail "it is $(of_wal .status.phase)"

step "a stale writer: stopped while another node took the log over, then continued; it changes nothing"
install -d -o postgres -g postgres -m 700 "$T/agent-b"
sed -e "s/node: db-a/node: db-b/; s|state_dir: .*|state_dir: $T/agent-b|" "$T/agent.yaml" >"$T/agent-b.yaml"
spawn "$T/agent-b.log" "$BUILD/tidemark-agent" -c "$T/agent-b.yaml"
B_PID=$SPAWNED
wait_for 20 node_is db-b
stale=$(runner_pids)
kill -STOP "$AGENT_PID" $stale
leads_b() { [ "$(of_wal .status.node)" = db-b ]; }
wait_for 40 leads_b
mark=$(now_by_source)
wait_for 30 is_safe "$mark"
kill -CONT "$AGENT_PID" $stale
sleep 3
stored_safely
leads_b || fail "the lead went to $(of_wal .status.node)"
stale_gone() { [ -z "$(ps -o pid= -p "$stale" | tr -d ' ')" ]; }
wait_for 30 stale_gone

step "the end: one chain, byte for byte; everything is there"
ledger_stop
chain_holds
ledger_survives "$T/repo" "$(now_by_source)"
[ "$LEDGER_SUM" = "$(ledger_sum)" ] || fail "restored '$LEDGER_SUM', the source has '$(ledger_sum)'"
end_process "$B_PID" TERM
daemons_stop
