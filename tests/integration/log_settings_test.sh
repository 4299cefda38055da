#!/usr/bin/env bash
# Servers that are not set up for a log backup, or run short of what it takes: the error names setting and value, and the
# log backup goes on by itself once that is mended. Commits never wait for it. The database host's clock is wrong, and
# jumps: latency and skew are told apart, and the checkpoint is never ahead of what is stored.
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/log_kill.sh"

error_is() { of_wal '.status.lastError | select(.node == "db-a" and (.stage | length) > 0 and (.since | length) >= 20) | .message' | grep -F "$1"; }
told() { # TEXT: within 15 s
    local began=$SECONDS
    wait_for 15 error_is "$1"
    [ $((SECONDS - began)) -le 15 ] || fail "told after $((SECONDS - began)) s"
    echo "   $(of_wal .status.lastError.message)"
}
is_running() { [ "$(of_wal .status.phase)" = Running ] && [ "$(of_wal '.status.lastError // "none"')" = none ]; }
setting() { # NAME VALUE…, and the server is started anew
    postgres_stop 15 "$T/source"
    while [ $# -gt 0 ]; do
        echo "$1 = $2" >>"$T/source/postgresql.conf"
        shift 2
    done
    postgres_start 15 "$T/source"
}

"${CC:-cc}" -D_GNU_SOURCE -shared -fPIC -O2 -o "$T/clock_shim.so" "$TOP/tests/integration/clock_shim.c"
chmod 755 "$T/clock_shim.so"
export CLOCK_SHIM_FILE=$T/clock
install -d -o postgres -g postgres "$T/repo" "$T/restore"
echo 0 >"$T/clock"
postgres_init 15 "$T/source" -k
printf '%s\n' "wal_keep_size = 4GB" "timezone = UTC" "wal_level = minimal" "max_wal_senders = 0" "archive_mode = off" >>"$T/source/postgresql.conf"
postgres_start 15 "$T/source"
sql postgres -c "create table ledger (id int primary key)"
daemons_start "$T/source"

step "wal_level = minimal"
tidemark log start wal --cluster test --storage "file://$T/repo" --flush-interval 500ms --no-wait >/dev/null
told "wal_level is minimal"

step "max_replication_slots are all taken"
setting wal_level replica max_wal_senders 10 max_replication_slots 1
sql postgres -c "select pg_create_physical_replication_slot('other', true)" >/dev/null
told "max_replication_slots is 1"
sql postgres -c "select pg_drop_replication_slot('other')" >/dev/null
wait_for 60 is_running

step "max_wal_senders are all taken"
agent_kill # it would be faster
setting max_wal_senders 1
install -d -o postgres -g postgres "$T/received"
receiver() {
    spawn "$T/run/receiver.log" "$PG15/pg_receivewal" -h "$T/run" -p "$PGPORT" -U postgres -D "$T/received" "$@"
    RECEIVER=$SPAWNED
}
receiver
receives() { [ "$(sql postgres -c "select count(*) from pg_stat_replication where state = 'streaming'")" = 1 ]; }
wait_for 20 receives
agent_start
told "max_wal_senders"
end_process "$RECEIVER"
wait_for 60 is_running
sql postgres -c "insert into ledger values (1)"
mark=$(now_by_source)
wait_for 30 is_safe "$mark"

step "max_wal_senders is 0, and a right is taken away: told, and mended by itself"
setting max_wal_senders 0
told "max_wal_senders is 0"
setting max_wal_senders 10
wait_for 60 is_running
cp -p "$T/source/pg_hba.conf" "$T/hba"
sed -i '1i local replication all reject' "$T/source/pg_hba.conf"
setting max_wal_senders 1
told "pg_hba.conf"
[ "$(of_wal .status.phase)" = Running ] || fail "it is $(of_wal .status.phase)"
cp -p "$T/hba" "$T/source/pg_hba.conf"
sql postgres -c "select pg_reload_conf()" >/dev/null
wait_for 60 is_running
mark=$(now_by_source)
wait_for 30 is_safe "$mark"

step "synchronous_standby_names = '*': our stream is never the one that commits wait for"
sql postgres -c "alter system set synchronous_standby_names = '*'" -c "select pg_reload_conf()" >/dev/null
sleep 1
expect_out "async|t" sql postgres -c "select sync_state, flush_lsn is null from pg_stat_replication where application_name like 'tidemark%'"
setting max_wal_senders 10 max_replication_slots 10 # and started while it is set
wait_for 60 is_running
streams() { [ "$(sql postgres -c "select count(*) from pg_stat_replication where application_name like 'tidemark%'")" = 1 ]; }
wait_for 20 streams
expect_out "async|t" sql postgres -c "select sync_state, flush_lsn is null from pg_stat_replication where application_name like 'tidemark%'"
# a true one is the only one that counts
receiver --synchronous
commits() { timeout 5 "$PG15/psql" -XAtq -d postgres -c "insert into ledger select max(id) + 1 from ledger"; }
wait_for 20 commits
expect_out "pg_receivewal:sync tidemark:async" sql postgres -c "select string_agg(split_part(application_name, ' ', 1) || ':' || sync_state, ' ' order by application_name) from pg_stat_replication"
sql postgres -c "alter system reset synchronous_standby_names" -c "select pg_reload_conf()" >/dev/null
end_process "$RECEIVER"
mark=$(now_by_source)
wait_for 30 is_safe "$mark"

step "the database host's clock is five minutes fast, then ten slow: latency and skew apart"
postgres_stop 15 "$T/source"
# the harness starts servers as user postgres; only the server itself gets the other clock
as_shifted() { runuser -u postgres -- env LD_PRELOAD="$T/clock_shim.so" CLOCK_SHIM_FILE="$T/clock" "$@"; }
echo 300000000 >"$T/clock"
as_shifted "$PG15/pg_ctl" -D "$T/source" -l "$T/run/source.log" -w -t 60 start >/dev/null
clock_is() { # SECONDS: what is told of skew, and that latency has none of it
    [ "$(of_wal "(.status.skewSeconds - $1 | fabs) < 3 and .status.latencySeconds >= 0 and .status.latencySeconds < 15")" = true ]
}
ahead() { # whether the checkpoint is ahead of what the source's clock says, or of what is stored
    [ "$(of_wal .status.logCheckpointTs)" \> "$(now_by_source)" ]
}
wait_for 60 is_running
wait_for 20 clock_is 300
sql postgres -c "insert into ledger select max(id) + 1 from ledger"
mark=$(now_by_source)
wait_for 30 is_safe "$mark"
! ahead || fail "$(of_wal .status.logCheckpointTs) is ahead of the source's clock"
for offset in -600 120; do
    echo "${offset}000000" >"$T/clock"
    sql postgres -c "insert into ledger select max(id) + 1 from ledger"
    wait_for 20 clock_is $offset
    not_ahead() { ! ahead; }
    wait_for 20 not_ahead
    flush=$(sql postgres -c "select pg_current_wal_flush_lsn()")
    wait_for 20 stored_up_to "$flush"
    wait_for 20 clock_is $offset
    ! ahead || fail "$(of_wal .status.logCheckpointTs) is ahead of the source's clock, $(now_by_source)"
done
# what the checkpoint promised is there: everything
tidemark backup full --cluster test --storage "file://$T/repo" >/dev/null
sql postgres -c "insert into ledger select max(id) + n from ledger, generate_series(1, 100) n group by n"
flush=$(sql postgres -c "select pg_current_wal_flush_lsn()")
wait_for 20 stored_up_to "$flush"
chain_holds
rm -rf "$T/restore/all"
as_postgres "$BUILD/tidemark-agent" restore -q --storage "file://$T/repo" --cluster test --data-dir "$T/restore/all" --to latest \
    --start --port $((PGPORT + 1)) --set unix_socket_directories="$T/run" >"$T/restore.log" 2>&1 || fail "$(cat "$T/restore.log")"
printf '15 %s\n' "$T/restore/all" >"$(mark_of "$T/restore/all")"
expect_out "$(sql postgres -c "select count(*), max(id) from ledger")" env PGPORT=$((PGPORT + 1)) "$PG15/psql" -XAtq -d postgres -c "select count(*), max(id) from ledger"
daemons_stop
