#!/usr/bin/env bash
# A primary that is lost: the standby holds log from the checkpoint on, and when it is promoted its agent takes
# the task up, so that a restore goes from the old primary's backup over the fork to the new one's last commit.
set -euo pipefail
. "$(dirname "$0")/../lib/harness.sh"
MAJOR=15 # of the distribution: it has pg_basebackup
STORAGE=file://$T/storage
of_wal() { tidemark get backup wal -o json | jq -r "$1"; }
is_safe() { [[ $(of_wal ".status.logCheckpointTs // empty") > $1 ]]; }
now_by_source() { sql postgres -c "select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"; }
on_b() { PGPORT=$((PGPORT + 1)) "$@"; }
holds_on_b() { [ "$(on_b sql postgres -c "select count(*) from pg_replication_slots where slot_name ~ '^tidemark_(?!b_)' and restart_lsn is not null")" = 1 ]; }
leads() { [ "$(of_wal .status.node)" = "$1" ]; }
postgres_init $MAJOR "$T/source"
postgres_start $MAJOR "$T/source"
sql postgres -c "create table ledger (id int primary key)"
install -d -o postgres -g postgres -m 700 "$T/b"
as_postgres "$PG15/pg_basebackup" -h "$T/run" -p "$PGPORT" -U postgres -D "$T/b" -R -X stream -c fast
echo "port = $((PGPORT + 1))" >>"$T/b/postgresql.conf"
postgres_start $MAJOR "$T/b"
install -d -o postgres -g postgres "$T/storage" "$T/restore" "$T/agent-b"
daemons_start "$T/source"
sed -e "s/node: db-a/node: db-b/; s|state_dir: .*|state_dir: $T/agent-b|; s|data_dir: .*|data_dir: $T/b|; s/port=$PGPORT/port=$((PGPORT + 1))/" "$T/agent.yaml" >"$T/agent-b.yaml"
spawn "$T/agent-b.log" "$BUILD/tidemark-agent" -c "$T/agent-b.yaml"
B_PID=$SPAWNED
wait_for 20 node_is standby

step "the primary streams, the standby holds"
tidemark log start wal --cluster test --storage "$STORAGE" --flush-interval 1s
wait_for 20 holds_on_b
tidemark backup full --cluster test --storage "$STORAGE"
sql postgres -c "insert into ledger select generate_series(1, 100)"
mark=$(now_by_source)
wait_for 15 is_safe "$mark"
[ "$(of_wal '.status.holds | map(.node) | join(" ")')" = "db-a db-b" ] || fail "holds: $(of_wal .status.holds)"
parent=$(of_wal .status.lineage)

step "the primary is lost, the standby promoted: its agent takes the log up"
kill -KILL "$(head -n 1 "$T/source/postmaster.pid")"
as_postgres "$PG15/pg_ctl" -D "$T/b" -w promote >/dev/null
wait_for 30 leads db-b
[ "$(of_wal .status.attempt)" = 2 ] || fail "attempt $(of_wal .status.attempt)"
on_b sql postgres -c "insert into ledger select generate_series(101, 200)"
mark=$(on_b now_by_source)
wait_for 30 is_safe "$mark"
[ "$(of_wal .status.phase)" = Running ] || fail "it is $(of_wal .status.phase)"
[ "$(of_wal .status.lineage)" != "$parent" ] || fail "the branch is the same"

step "a restore goes over the fork"
tidemark restore r1 --backup wal --to latest --node db-b --data-dir "$T/restore/r1" --start --port $((PGPORT + 2))
expect_out "200|200" env PGPORT=$((PGPORT + 2)) "$PG15/psql" -XAtq -d postgres -c 'select count(*), max(id) from ledger'
as_postgres "$PG15/pg_ctl" -D "$T/restore/r1" -m immediate -s stop

step "stop: the hold is gone where it can be"
tidemark log stop wal
expect_out 0 on_b sql postgres -c "select count(*) from pg_replication_slots where slot_name ~ '^tidemark_(?!b_)'"
end_process "$B_PID" TERM
daemons_stop
echo "the log is whole over a failover"
