#!/usr/bin/env bash
# A log backup without its coordinator: the agent streams on, also when it is killed and started again; what it
# keeps for that is damaged, and named; a coordinator that comes back finds everything going on.
set -euo pipefail
. "$(dirname "$0")/../lib/harness.sh"

MAJOR=15
STORAGE=file://$T/storage

of_wal() { tidemark get backup wal -o json | jq -r "$1"; }
is_safe() { [[ $(of_wal ".status.logCheckpointTs // empty") > $1 ]]; }
now_by_source() { sql postgres -c "select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"; }
stored_to() { # what storage alone leads back to
    "$BUILD/tidemark-agent" list --storage "$STORAGE" -o json | jq -r '[.. | objects | select(has("lineage")) | .to // empty] | max'
}
is_stored() { [[ $(stored_to) > $1 ]]; }
writers() { find "$T/storage" -path '*/writer/*' -printf '%f\n' | sort; }

postgres_init $MAJOR "$T/source"
postgres_start $MAJOR "$T/source"
sql postgres -c "create table ledger (id int primary key)"
daemons_start "$T/source"
install -d -o postgres -g postgres "$T/storage"
tidemark log start wal --cluster test --storage "$STORAGE" --flush-interval 1s
tidemark backup full --cluster test --storage "$STORAGE"
STATE=$(sed -n 's/^state_dir: *//p' "$T/agent.yaml")
[ "$(stat -c %a "$STATE/log-jobs")" = 600 ] || fail "log-jobs has mode $(stat -c %a "$STATE/log-jobs")"

step "the coordinator is killed: the agent streams on"
coordinator_kill
sql postgres -c "insert into ledger select generate_series(1, 100)"
mark=$(now_by_source)
sql postgres -c "insert into ledger select generate_series(101, 200)"
wait_for 15 is_stored "$mark"

step "so does the agent's next life, under a higher epoch"
before=$(writers | tail -1)
agent_kill
agent_start
sql postgres -c "insert into ledger select generate_series(201, 300)"
mark=$(now_by_source)
sql postgres -c "insert into ledger select generate_series(301, 400)"
wait_for 20 is_stored "$mark"
grep -q "log jobs of before that are taken up again: 1" "$T/agent.log"
[[ $(writers | tail -1) > $before ]] || fail "writer $(writers | tail -1) is not above $before"

step "a damaged file is named, and waits for the coordinator"
agent_kill
printf 'x' | dd of="$STATE/log-jobs" bs=1 seek=60 conv=notrunc status=none
agent_start
named() { grep -q "log-jobs' cannot be used, log jobs wait for the coordinator: its checksum is not that of its contents" "$T/agent.log"; }
wait_for 10 named
coordinator_start
mark=$(now_by_source)
sql postgres -c "insert into ledger select generate_series(401, 500)"
wait_for 30 is_safe "$mark"
[ "$(of_wal .status.phase)" = Running ] || fail "it is $(of_wal .status.phase)"

step "who counts writers is not guessed"
agent_kill
printf 'x' | dd of="$STATE/log-writers" bs=1 seek=40 conv=notrunc status=none
agent_start
refused() { grep -q "log-writers' cannot be used; remove it after a restart of the coordinator" "$T/agent.log"; }
wait_for 10 refused
coordinator_kill
coordinator_start
rm "$STATE/log-writers"
agent_start
mark=$(now_by_source)
sql postgres -c "insert into ledger select generate_series(501, 600)"
wait_for 40 is_safe "$mark"
[ "$(writers | sort -u | wc -l)" = "$(writers | wc -l)" ] || fail "a writer's epoch was taken twice"
daemons_stop
echo "a log backup goes on without its coordinator"
