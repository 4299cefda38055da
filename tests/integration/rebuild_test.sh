#!/usr/bin/env bash
# The coordinator's state is lost: killed, its directory removed, started again. It notices, agents go on with what they
# have, and what storage holds gives the same list again: complete backups, a deletion in its grace, an interrupted backup
# that can be resumed, a running log backup whose log has no gap. Then the state is put back to an older copy.
. "$(dirname "$0")/../lib/harness.sh"
. "$(dirname "$0")/../lib/lost_state.sh"

MAJOR=15
STORAGE=file://$T/repo

of() { tidemark get backup "$1" -o json | jq -r "$2"; }
apply() { # NAME [LINE of the spec…]
    local name=$1
    shift
    {
        printf 'apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: %s, labels: {made: "by %s"}}\n' "$name" "$name"
        printf 'spec:\n  br: {cluster: test, concurrency: 2%s}\n  local: {path: %s}\n' "${RATE:+, rateLimit: $RATE}" "$T/repo"
        [ $# = 0 ] || printf '  %s\n' "$@"
    } >"$T/$name.yaml"
    expect_out "backup/$name created" tidemark apply -f "$T/$name.yaml"
}
complete() { tidemark wait backup "$1" --for=Complete --timeout=120s; }
phase_is() { [ "$(of "$1" .status.phase)" = "$2" ]; }
now_by_source() { sql postgres -c "select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"; }
is_safe() { [[ $(of wal '.status.logCheckpointTs // ""') > $1 ]]; } # TIME: everything acknowledged before is stored
removal_known() { [ "$(of "$1" '.status.timeRemoval // ""')" != "" ]; }
leads_on() { [ "$(of wal '.status.needsFullBackup // false')" = false ]; }
ranges_done() { [ "$(of "$1" .status.progress.rangesDone)" -ge "$2" ]; }
interrupt() { # NAME: in the middle, for good
    RATE=5 apply "$1" "rangeSize: 1MiB"
    wait_for 60 checkpointed "$1"
    agent_kill KILL
    agent_start
    wait_for 60 phase_is "$1" Failed
    expect_out Resumable of "$1" '[.status.conditions[] | select(.type == "Failed")][0].reason'
}
checkpointed() {
    ! phase_is "$1" Complete || fail "$1 was over too soon"
    ranges_done "$1" 3 && [ "$(find "$T/repo" -path "*/$(of "$1" .status.backupId)/checkpoint/*" | wc -l)" -ge 2 ]
}
read_back() { # BACKUP ROWS: the restored server has so many
    tidemark restore "r-$1" --backup "$1" --cluster test --data-dir "$T/restore/$1" >/dev/null
    local port=$((PGPORT + 1)) # the source goes on: another server in its place would end the log backup
    printf 'port = %s\n' "$port" >>"$T/restore/$1/postgresql.conf"
    PGPORT=$port postgres_start $MAJOR "$T/restore/$1"
    PGPORT=$port expect_out "$2" sql postgres -c "select count(*) from ledger"
    PGPORT=$port postgres_stop $MAJOR "$T/restore/$1"
    expect_out Running of wal .status.phase
}

postgres_init $MAJOR "$T/source"
postgres_start $MAJOR "$T/source"
pgbench -i -q -s 4 postgres >/dev/null 2>&1
sql postgres -c "create table ledger (id int primary key)"
daemons_start "$T/source"
install -d -o postgres -g postgres "$T/restore"

step "a log backup, two complete backups, one deleted in its grace, one that is retained without a resource, one interrupted"
tidemark log start wal --cluster test --storage "$STORAGE" --flush-interval 1s
sql postgres -c "insert into ledger select generate_series(1, 100)"
apply named
complete named
apply second "cleanPolicy: Delete"
complete second
apply goes "cleanPolicy: Delete" "cleanGrace: 1h"
complete goes
tidemark delete backup goes >/dev/null
wait_for 20 removal_known goes
apply forgotten
complete forgotten
expect_out "backup/forgotten deleted" tidemark delete backup forgotten
interrupt broken
wait_for 30 leads_on
wait_for 20 nothing_waits
list >"$T/before.json"
expect_json "$T/before.json" '[.[].metadata.name] | join(" ")' "broken goes named second wal"
expect_json "$T/before.json" '[.[].status.phase] | join(" ")' "Failed Deleting Complete Complete Running"

step "killed, and its state is gone: it notices, says so, and ends nothing that it does not know"
runners=$(runner_pids)
lineages=$(find "$T/repo" -name lineage.mpk | wc -l)
lose_state
sql postgres -c "insert into ledger select generate_series(101, 200)"
coordinator_start
wait_for 20 node_is primary
expect_out 0 sh -c "'$BUILD/tidemark' get backup -o json | jq '.items | length'"
tidemark nodes 2>"$T/doubt" >/dev/null
grep -q "this coordinator's state may lack backups and jobs: it had term 1, an agent had seen 1" "$T/doubt" || fail "$(cat "$T/doubt")"
expect_out "$runners" runner_pids
mark=$(now_by_source)
expect_fail 3 "is not a Tidemark repository" tidemark rebuild --storage "file://$T/restore"
expect_fail 2 "--moved is for --storage" tidemark rebuild confirm --moved
expect_fail 2 "--force is for 'confirm'" tidemark rebuild status --force
expect_fail 1 "node 'db-a' of cluster 'test' is at work on a log backup that no resource tells of" tidemark rebuild confirm

step "one command: the same list, a second time nothing new; the log goes on, without a new lineage"
tidemark rebuild --storage "$STORAGE" >"$T/rebuilt"
grep -qx "5 restored: 2 complete, 1 log backups, 1 failed, 0 running, 1 being deleted; 0 were known" "$T/rebuilt" || fail "$(cat "$T/rebuilt")"
grep -qx "1 backups stay in storage without a resource, as they were" "$T/rebuilt" || fail "$(cat "$T/rebuilt")"
same_list "$T/before.json"
tidemark rebuild --storage "$STORAGE" >"$T/rebuilt"
grep -qx "0 restored: .*; 5 were known" "$T/rebuilt" || fail "$(cat "$T/rebuilt")"
same_list "$T/before.json"
wait_for 30 is_safe "$mark"
expect_out "$runners" runner_pids
expect_out "$lineages" sh -c "find '$T/repo' -name lineage.mpk | wc -l"
expect_out 1 sh -c "'$BUILD/tidemark' get backup wal -o json | jq '[.status.recoverable[] | select(.to > \"$mark\")] | length'"

step "truncation waits for the operator's word, also across a restart"
until_ts=$(of named .status.commitTs)
tidemark get backup wal -o json | jq ".spec.logTruncateUntil = \"$until_ts\" | del(.status)" >"$T/wish.json"
expect_out "backup/wal configured" tidemark apply -f "$T/wish.json"
coordinator_kill KILL
coordinator_start
wait_for 20 node_is primary
sleep 3
expect_out true of wal '.status.logTruncate.pending'
of wal '.status.logTruncate.error' | grep -q "waits for 'tidemark rebuild confirm'" || fail "$(of wal .status.logTruncate)"
expect_out "confirmed: truncation and what expires goes on" tidemark rebuild confirm
truncated() { [ "$(of wal '.status.logSuccessTruncateUntil // ""')" != "" ]; }
wait_for 30 truncated
expect_fail 1 "nothing waits for a confirmation" tidemark rebuild confirm
expect_out "" sh -c "'$BUILD/tidemark' nodes 2>&1 >/dev/null"

step "everything works: what was interrupted goes on, a new backup, a restore of a rebuilt one"
tidemark backup resume broken >/dev/null
expect_out true of broken '.status | .progress.rangesResumed >= 2 and .progress.rangesResumed + .nodes[0].ranges == .progress.rangesTotal'
apply fresh
complete fresh
read_back named 100

step "put back to a copy that was taken while it ran, in the middle of a backup: the backup goes on to its end, nothing is done twice"
install -d -o postgres -g postgres -m 0700 "$T/copy"
as_postgres sqlite3 "$T/coordinator/state.db" ".backup '$T/copy/state.db'" # its term is that of the coordinator that runs
apply later
complete later
RATE=10 apply underway "rangeSize: 1MiB"
wait_for 60 ranges_done underway 2
wait_for 20 nothing_waits
list | jq 'map(select(.metadata.name != "underway"))' >"$T/before.json"
coordinator_kill KILL
rm -rf "$T/coordinator"
cp -a "$T/copy" "$T/coordinator"
coordinator_start
wait_for 20 node_is primary
tidemark rebuild status >"$T/doubt"
grep -q "this coordinator's state may lack backups and jobs: an agent had seen changes in it, under term 3, that it does not have" "$T/doubt" ||
    fail "$(cat "$T/doubt")"
expect_fail 1 "node 'db-a' of cluster 'test' is at work on a backup that no resource tells of" tidemark rebuild confirm
tidemark get backup -o json | jq -r '.items[].metadata.name' | grep -qx 'later\|underway' && fail "the copy is not older"
tidemark rebuild --storage "$STORAGE" >"$T/rebuilt"
grep -qx "backup/later restored" "$T/rebuilt" && grep -qx "backup/underway restored" "$T/rebuilt" || fail "$(cat "$T/rebuilt")"
grep -q "^2 restored: 1 complete, 0 log backups, 0 failed, 1 running" "$T/rebuilt" || fail "$(cat "$T/rebuilt")"
complete underway
expect_out 1 of underway .status.attempt
expect_out null of underway .status.progress.rangesResumed
list | jq 'map(select(.metadata.name != "underway"))' >"$T/after.json"
diff "$T/before.json" "$T/after.json" || fail "the list differs"
tidemark rebuild confirm
as_postgres "$BUILD/tidemark-agent" verify --storage "$STORAGE" --cluster test >"$T/verify.log" || fail "$(cat "$T/verify.log")"

step "the coordinator is made anew by hand, no agent has seen a term, and one backup has no words in storage"
expect_out null of underway .status.lastError
wait_for 20 nothing_waits
list >"$T/before.json"
term() { printf '' | tidemark rebuild status | sed -n 's/.*term \([0-9]*\)$/\1/p'; }
term_before=$(term)
totals='.status | {backupId, backupPath, backupSize, dataSize, logSize, files, commitTs, position, lineage, timeCompleted, node,
    ranges: .progress.rangesTotal}'
of named "$totals" >"$T/totals"
find "$T/repo" -path "*/intent/$(of named .metadata.uid)-*" -delete
agent_kill KILL
coordinator_kill TERM
expect_fail 1 "state.db' is not empty: a catalog is rebuilt into an empty state only" \
    as_postgres "$BUILD/tidemark-coordinator" -c "$T/coordinator.yaml" --rebuild-catalog
rm -rf "$T/coordinator" "$T/agent/term"
coordinator_start --rebuild-catalog
agent_start
wait_for 20 node_is primary
expect_out "$(printf '%s' "$(tidemark rebuild status | head -n 1)")" sh -c "'$BUILD/tidemark' nodes 2>&1 >/dev/null | head -n 1 | sed 's/^tidemark: warning: //'"
tidemark rebuild --storage "$STORAGE" >"$T/rebuilt"
name=$(jq -r .backupId "$T/totals" | tr A-Z a-z)
grep -qx "backup/$name restored" "$T/rebuilt" || fail "$(cat "$T/rebuilt")"
of "$name" "$totals" >"$T/totals.after"
diff "$T/totals" "$T/totals.after" || fail "what storage proves of '$name' differs"
jq 'map(select(.metadata.name != "named"))' "$T/before.json" >"$T/others.json"
list_others() { list | jq --arg name "$name" 'map(select(.metadata.name != $name))' >"$T/after.json" && diff "$T/others.json" "$T/after.json" >"$T/list.diff"; }
wait_for 30 list_others
tidemark rebuild confirm
[ "$(term)" -gt "$term_before" ] || fail "the term is $(term), and was $term_before"
mark=$(now_by_source)
wait_for 30 is_safe "$mark"
