#!/usr/bin/env bash
# A log backup as an operator lives with it: started, looked at, paused, resumed, truncated, stopped; the
# coordinator restarts meanwhile; what it stored restores to a point in time.
set -euo pipefail
. "$(dirname "$0")/../lib/harness.sh"

MAJOR=15
STORAGE=file://$T/storage

of_wal() { tidemark get backup wal -o json | jq -r "$1"; }
is_safe() { # TIME: everything acknowledged before is stored
    [[ $(of_wal ".status.logCheckpointTs // empty") > $1 ]]
}
now_by_source() { sql postgres -c "select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"; }
says() { # TEXT CMD…: it succeeds and says this
    local text=$1 out
    shift
    out=$("$@" 2>&1) || fail "'$*' ended with status $?: $out"
    case $out in
    *"$text"*) ;;
    *) fail "'$*' said '$out', which does not contain '$text'" ;;
    esac
}
chunks() { find "$T/storage" -path '*/log/*/chunk/*' -type f -printf '%f\n' | sort; }
gone() { chunks | comm -23 "$T/chunks" - | wc -l; } # of those that were there
are_gone() { [ "$(gone)" = "$1" ]; }
removing_is() { [ "$(of_wal .status.logTruncate.removing)" = "$1" ]; }
slots() { sql postgres -c "select count(*) from pg_replication_slots where slot_name ~ '^tidemark_(?!b_)'"; }

postgres_init $MAJOR "$T/source"
postgres_start $MAJOR "$T/source"
sql postgres -c "create table ledger (id int primary key, at timestamptz default clock_timestamp())"
daemons_start "$T/source"
install -d -o postgres -g postgres "$T/storage" "$T/restore"

step "start: Running, one slot, a checkpoint that moves"
says "backup/wal created" tidemark log start wal --cluster test --storage "$STORAGE" --flush-interval 1s
[ "$(slots)" = 1 ] || fail "there are $(slots) slots"
sql postgres -c "insert into ledger select generate_series(1, 100)"
mark=$(now_by_source)
wait_for 15 is_safe "$mark"
of_wal '.status | {phase, node, latencySeconds, skewSeconds, lineage}'
[ "$(of_wal '.status.latencySeconds < 10')" = true ] || fail "the log is $(of_wal .status.latencySeconds) s behind"
tidemark log status
tidemark nodes | finds "cluster test: safe until"
expect_fail 1 "stores the log of tenant 'main' of cluster 'test' there already" \
    tidemark log start wal2 --cluster test --storage "$STORAGE" --no-wait

step "a snapshot beside it, then more to replay"
before=$(now_by_source)
tidemark backup full --cluster test --storage "$STORAGE"
asked=$SECONDS # a moment that nothing can lead to is not waited for, as one that may yet be stored is
expect_fail 3 "lies before the first moment that can be had" as_postgres "$BUILD/tidemark-agent" restore -q \
    --storage "$STORAGE" --cluster test --data-dir "$T/restore/never" --to "$before"
[ $((SECONDS - asked)) -lt 10 ] || fail "the restore to a moment before the first took $((SECONDS - asked)) s to be refused"
sql postgres -c "insert into ledger select generate_series(101, 200)"
sleep 0.1
middle=$(now_by_source)
sleep 0.1
sql postgres -c "insert into ledger select generate_series(201, 300)"
last=$(now_by_source)
wait_for 15 is_safe "$last"

step "the coordinator is killed: the log goes on"
coordinator_kill
sql postgres -c "insert into ledger select generate_series(301, 400)"
sleep 3
coordinator_start
without=$(now_by_source)
wait_for 30 is_safe "$without"
[ "$(of_wal .status.phase)" = Running ] || fail "it is $(of_wal .status.phase)"

step "pause holds, resume goes on"
says "Pause" tidemark log pause wal
[ "$(slots)" = 1 ] || fail "the hold is gone"
sql postgres -c "insert into ledger select generate_series(401, 500)"
says "Running" tidemark log resume wal
resumed=$(now_by_source)
wait_for 15 is_safe "$resumed"

step "recoverable, and restored to the middle"
tidemark describe backup wal
[ "$(of_wal '[.status.recoverable[] | select(.abandoned | not)] | length')" = 1 ] || fail "not one interval"
tidemark restore r1 --backup wal --to "$middle" --data-dir "$T/restore/r1" --start --port $((PGPORT + 1))
[ "$(PGPORT=$((PGPORT + 1)) sql postgres -c 'select max(id) from ledger')" = 200 ] || fail "another moment"
as_postgres "$(bindir $MAJOR)/pg_ctl" -D "$T/restore/r1" -m immediate -s stop

step "search: an agent looks, and finds what storage alone tells"
# (a commit behind it: a point alone is flushed some time later)
sql postgres -c "select pg_create_restore_point('before lunch')" -c "insert into ledger values (10001)" >/dev/null
named=$(now_by_source)
wait_for 15 is_safe "$named"
alone() { as_postgres "$BUILD/tidemark-agent" search --storage "$STORAGE" --cluster test "$@"; }
for options in "" "--points" "--to $middle" "--from $middle --to $last" "--limit 3" "--xid 4000000000"; do
    # shellcheck disable=SC2086
    expect_out "$(alone $options 2>/dev/null)" tidemark log search wal $options 2>/dev/null
    # shellcheck disable=SC2086
    [ "$(tidemark log search wal $options -o json | jq -S .)" = "$(alone $options -o json | jq -S .)" ] || fail "search $options -o json"
done
says "before lunch" tidemark log search wal --name "before lunch"
says "there are more than 3, see --limit" tidemark log search wal --limit 3

step "truncate: refused where a kept backup goes on from there, done when forced"
says "backup/wal truncated until" tidemark log truncate wal --until "$middle" # the one backup is older: nothing goes
tidemark backup second --cluster test --storage "$STORAGE" --no-wait
tidemark wait backup second --for=Complete
sql postgres -c "insert into ledger select generate_series(501, 600)"
late=$(now_by_source)
wait_for 15 is_safe "$late"
expect_fail 1 "log is not truncated: " tidemark log truncate wal --until "$late"
expect_fail 1 "log is not truncated: " tidemark log truncate wal --until "$late" # the same again: tried again
expect_fail 1 "delete it first, or force" tidemark log truncate wal --until "$late" --dry-run
would=$(tidemark log truncate wal --until "$late" --force --dry-run)
says "$would" tidemark log truncate wal --until "$late" --force --dry-run # nothing is removed by it
case $would in "backup/wal: truncating would remove 0 chunks"*) fail "$would" ;; esac
[ "$(of_wal '.spec.logTruncateForce')" = null ] || fail "a dry run is in the spec"
[ "$(of_wal '.status.lastError.stage')" = truncate ] || fail "the refusal is not shown"
chunks >"$T/chunks"
expect_fail 2 "'logTruncateGrace': 10ms is not in 1s to 30d" tidemark log truncate wal --until "$late" --force --grace 10ms
says "backup/wal truncated until" tidemark log truncate wal --until "$late" --force
[ "$(of_wal .status.phase)" = Running ] || fail "it is $(of_wal .status.phase)"

step "what was truncated cannot be had from now on; who reads it already does so until the grace is over"
removing_is true || fail "logTruncate: $(of_wal .status.logTruncate)"
tidemark describe backup wal | finds "done; it is removed after logTruncateGrace" || fail "$(tidemark describe backup wal)"
expect_fail 3 "$middle lies in a gap" as_postgres "$BUILD/tidemark-agent" restore -q --dry-run \
    --storage "$STORAGE" --cluster test --data-dir "$T/restore/never" --to "$middle"
are_gone 0 || fail "$(gone) chunks are gone"

step "stop: the slot is gone, for good"
sql postgres -c "select pg_create_restore_point('the last one')" -c "insert into ledger values (10002)" >/dev/null
stop_at=$(now_by_source)
wait_for 15 is_safe "$stop_at"
says "Stopped" tidemark log stop wal
[ "$(slots)" = 0 ] || fail "the slot is left"
expect_fail 1 "Stopped for good" tidemark log resume wal
says "the last one" tidemark log search wal --points # an agent looks all the same
says "truncating would remove " tidemark log truncate wal --until "$late" --dry-run
tidemark wait backup wal --for=Stopped

step "a stopped task removes what waits, when its grace is over"
are_gone 0 || fail "$(gone) chunks are gone"
removing_is true || fail "logTruncate: $(of_wal .status.logTruncate)"
tidemark log truncate wal --until "$late" --force --grace 1s
wait_for 20 removing_is false
would=${would#*would remove }
are_gone "${would%% chunk*}" || fail "$(gone) chunks are gone, $would were to be"
says "backup/wal: truncating would remove 0 chunks" tidemark log truncate wal --until "$late" --force --dry-run
agent_kill TERM
expect_fail 4 "there is no agent of cluster 'test', tenant 'main'" tidemark log search wal
agent_start
wait_for 20 node_is primary
says "deleted" tidemark delete backup wal
daemons_stop
echo "everything of a log backup's life works"
