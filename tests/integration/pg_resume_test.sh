#!/usr/bin/env bash
# A snapshot whose session is lost goes on in another one, against real servers: ranges are read in three sessions, the
# first ends with its backend, the second with the server (immediate stop), while pgbench writes and tables, indexes
# and databases come, go and are rewritten. The restored cluster is judged by PostgreSQL's own tools, a ledger and
# pgbench's sums. Then everything that makes earlier ranges bad is done once, and must be told; and log behind the
# snapshot is replayed, too (both on 15, or the only version that is asked for).
#
#   pg_resume_test.sh [MAJOR…]     default: $TIDEMARK_TEST_MAJORS, or 13 15 18
#
# 13 and 16 run without page checksums, 16 with wal_log_hints. On 13, 16 and 18 the first session has ended its
# backup before it was lost.
. "$(dirname "$0")/../lib/harness.sh"

DRIVE=$BUILD/tests/unit/agent/engine/postgres/resume_drive_test
[ -x "$DRIVE" ] || skip "$DRIVE is not built"
install -m 755 "$DRIVE" "$T/drive"
CONNINFO="host=$T/run port=$PGPORT user=postgres dbname=postgres"
HOLD=tidemark_resume_test
RESTORED_PORT=$((PGPORT + 1))

# ---- the driver -------------------------------------------------------------------------------------------------
gate() { printf '%s/run/gate-%s' "$T" "$1"; }
drive_start() { # NAME ATTEMPTS [BYTES [ENDED]]
    rm -rf "$(gate "$1")".* "$T/repo-$1"
    install -d -o postgres -g postgres "$T/repo-$1"
    rm -f "$T/drive-$1.out"
    spawn "$T/drive-$1.out" "$T/drive" "$DATA" "$CONNINFO" "file://$T/repo-$1" "$HOLD" "$2" "$(gate "$1")" "${3:-1000000}" "${4:-0}"
    DRIVER=$SPAWNED
}
arrived() { [ -e "$(gate "$1").$2" ] || ! kill -0 "$DRIVER" 2>/dev/null; }
drive_until() { # NAME GATE
    wait_for 60 arrived "$1" "$2"
    [ -e "$(gate "$1").$2" ] || fail "the driver ended: $(cat "$T/drive-$1.out")"
}
drive_go() { touch "$(gate "$1").$2"; }
drive_ends() { # NAME STATUS PATTERN: the driver ends so, and its last line matches
    local status=0 said
    wait "$DRIVER" || status=$?
    said=$(tail -n 1 "$T/drive-$1.out")
    [ "$status" -eq "$2" ] || fail "$1: status $status: $(cat "$T/drive-$1.out")"
    # shellcheck disable=SC2254 # a pattern
    case $said in
    $3) printf '   %s: %s\n' "$1" "$said" ;;
    *) fail "$1: '$said' instead of '$3'" ;;
    esac
}
kill_session() { # all of ours: the session's, the reader's, the stream's
    [ "$(sql postgres -c "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'tidemark%'")" -ge 2 ] ||
        fail "no session to kill"
}
drop_hold() { sql postgres -c "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '$HOLD'" >/dev/null; }

# ---- what happens meanwhile -------------------------------------------------------------------------------------
load() {
    local major=$1
    pgbench -i -q -s 4 postgres >/dev/null 2>&1
    install -d -o postgres -g postgres "$T/space-$major"
    sql postgres -c "CREATE TABLESPACE far LOCATION '$T/space-$major'"
    sql postgres -c "CREATE EXTENSION amcheck" -c "CREATE TABLE ledger (n int PRIMARY KEY, t text)" \
        -c "CREATE TABLE quiet AS SELECT n, md5(n::text) AS t FROM generate_series(1, 30000) n" \
        -c "CREATE TABLE distant TABLESPACE far AS SELECT n, repeat(md5(n::text), 4) AS t FROM generate_series(1, 20000) n" \
        -c "CREATE TABLE dropped AS SELECT n, repeat(md5(n::text), 8) AS t FROM generate_series(1, 15000) n" \
        -c "CREATE TABLE emptied AS SELECT n, repeat(md5(n::text), 8) AS t FROM generate_series(1, 15000) n" \
        -c "CREATE TABLE shrunk AS SELECT n, repeat(md5(n::text), 8) AS t FROM generate_series(1, 15000) n" \
        -c "CREATE TABLE rewritten AS SELECT n, repeat(md5(n::text), 8) AS t FROM generate_series(1, 15000) n" \
        -c "CREATE TABLE indexed AS SELECT n, md5(n::text) AS t FROM generate_series(1, 30000) n" \
        -c "CREATE INDEX ON rewritten (t)" -c "CREATE INDEX emptied_t ON emptied (t)" \
        -c "CREATE UNLOGGED TABLE light AS SELECT n FROM generate_series(1, 1000) n" \
        -c "CREATE UNLOGGED TABLE heavier AS SELECT n, md5(n::text) AS t FROM generate_series(1, 1000) n" \
        -c "BEGIN" -c "INSERT INTO quiet VALUES (0, 'old')" -c "PREPARE TRANSACTION 'old'"
    for name in early still; do
        sql postgres -c "CREATE DATABASE $name"
        sql "$name" -c "CREATE TABLE here AS SELECT n FROM generate_series(1, 5000) n" -c "VACUUM (FREEZE, ANALYZE)"
    done
    echo "INSERT INTO ledger SELECT coalesce(max(n), 0) + 1, md5(random()::text) FROM ledger;" >"$T/ledger.sql"
    chmod 644 "$T/ledger.sql"
}
load_start() {
    writer_start postgres
    "$PG15/pgbench" -n -c 1 -T 3600 -f "$T/ledger.sql" postgres >"$T/ledger.log" 2>&1 &
    LEDGER_PID=$!
    echo "$LEDGER_PID" >>"$T/pids"
}
load_end() { # whether they live or not: a server that went away ended them
    end_process "$WRITER_PID"
    end_process "$LEDGER_PID"
}
turnover() { sql postgres -c CHECKPOINT -c "SELECT pg_switch_wal()" >/dev/null; }
changes_1() {
    local major=$1
    turnover
    sql postgres -c "DROP TABLE dropped" -c "TRUNCATE emptied" -c "INSERT INTO emptied SELECT n, md5(n::text) FROM generate_series(1, 2000) n" \
        -c "DELETE FROM shrunk WHERE n > 3000" -c "VACUUM shrunk" -c "CREATE INDEX indexed_t ON indexed (t)" \
        -c "VACUUM FULL rewritten" -c "ALTER TABLE heavier SET LOGGED" -c "CREATE UNLOGGED TABLE light_too AS SELECT 1 AS n" \
        -c "CREATE TABLE fresh AS SELECT n, md5(n::text) AS t FROM generate_series(1, 20000) n" -c "SELECT count(*) FROM fresh" \
        -c "COMMIT PREPARED 'old'" >/dev/null
    # 18.4 loses one that is prepared after the start of any backup and read with it: it does not remove its state file,
    # whose name it makes up with a wrong epoch (pg_twophase/FFFFFFFF…), and then takes it for restored
    [ "$major" -ge 17 ] ||
        sql postgres -c "BEGIN" -c "INSERT INTO quiet VALUES (-1, 'new')" -c "PREPARE TRANSACTION 'new'"
    if [ "$major" -ge 15 ]; then
        sql postgres -c "CREATE DATABASE by_log TEMPLATE early STRATEGY wal_log"
        sql postgres -c "CREATE DATABASE by_copy TEMPLATE still STRATEGY file_copy"
    else
        sql postgres -c "CREATE DATABASE by_log TEMPLATE still"
        sql postgres -c "CREATE DATABASE by_copy TEMPLATE still"
    fi
    sql by_copy -c "CREATE INDEX ON here (n)" -c "INSERT INTO here VALUES (-1)"
    sql by_log -c "UPDATE here SET n = n + 1"
    turnover
}
changes_2() {
    turnover
    sql postgres -c "INSERT INTO shrunk SELECT n, repeat(md5(n::text), 8) FROM generate_series(3001, 9000) n" -c "REINDEX TABLE indexed" \
        -c "DROP TABLE emptied" -c "CREATE TABLE emptied AS SELECT n, md5(n::text) AS t FROM generate_series(1, 300) n" \
        -c "VACUUM (FREEZE) quiet" -c "CLUSTER rewritten USING rewritten_t_idx" -c "DROP TABLE light" >/dev/null
    sql postgres -c "DROP DATABASE early"
    turnover
}
digest() { # PORT
    PGPORT=$1 sql postgres -c "SELECT 'quiet', count(*), md5(string_agg(t, ',' ORDER BY n)) FROM quiet
        UNION ALL SELECT 'distant', count(*), md5(string_agg(t, ',' ORDER BY n)) FROM distant
        UNION ALL SELECT 'shrunk', count(*), md5(string_agg(t, ',' ORDER BY n)) FROM shrunk
        UNION ALL SELECT 'emptied', count(*), md5(string_agg(t, ',' ORDER BY n)) FROM emptied
        UNION ALL SELECT 'rewritten', count(*), md5(string_agg(t, ',' ORDER BY n)) FROM rewritten
        UNION ALL SELECT 'indexed', count(*), md5(string_agg(t, ',' ORDER BY n)) FROM indexed
        UNION ALL SELECT 'heavier', count(*), md5(string_agg(t, ',' ORDER BY n)) FROM heavier
        UNION ALL SELECT 'fresh', count(*), md5(string_agg(t, ',' ORDER BY n)) FROM fresh
        UNION ALL SELECT 'prepared', count(*), string_agg(gid, ',') FROM pg_prepared_xacts ORDER BY 1"
    PGPORT=$1 sql by_copy -c "SELECT count(*), sum(n) FROM here"
    PGPORT=$1 sql by_log -c "SELECT count(*), sum(n) FROM here"
}

# ---- judging ----------------------------------------------------------------------------------------------------
restore() { # NAME TARGET [options]
    local name=$1 target=$2
    shift 2
    rm -rf "$target" "$target-space"
    as_postgres "$BUILD/tidemark-agent" restore -q --storage "file://$T/repo-$name" --cluster test --data-dir "$target" \
        --tablespace-map "$T/space-$MAJOR=$target-space" --threads 2 "$@" >"$T/restore.log" 2>&1 || fail "restore: $(cat "$T/restore.log")"
}
judge_files() { # before anything is changed there
    "$TOP/tests/integration/manifest_check.py" "$1" >/dev/null || fail "manifest of $1"
    case $MAJOR in
    15) as_postgres "$PG15/pg_verifybackup" -q "$1" || fail "pg_verifybackup" ;;
    13 | 14 | 16) as_postgres "$PG15/pg_verifybackup" -q -n "$1" || fail "pg_verifybackup" ;; # its log another pg_waldump reads
    esac
}
judge_cluster() { # TARGET: started, on RESTORED_PORT
    local database indexes
    for database in postgres by_copy by_log; do
        PGPORT=$RESTORED_PORT sql "$database" -c "SET client_min_messages = warning" -c "CREATE EXTENSION IF NOT EXISTS amcheck"
        if [ "$MAJOR" -ge 14 ]; then
            as_postgres env PGHOST="$PGHOST" PGPORT="$RESTORED_PORT" "$PG15/pg_amcheck" --no-password --heapallindexed --parent-check \
                "$database" || fail "pg_amcheck of $database"
        else
            indexes=$(PGPORT=$RESTORED_PORT sql "$database" -c "SELECT count(bt_index_parent_check(c.oid, true)) FROM pg_class c
                JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence = 'p'")
            [ "$indexes" -gt 100 ] || fail "only $indexes indexes in $database"
        fi
    done
    PGPORT=$RESTORED_PORT expect_out t sql postgres -c "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(bbalance) FROM pgbench_branches)
        AND (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(delta) FROM pgbench_history)
        AND (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history)"
    PGPORT=$RESTORED_PORT expect_out "0|t" sql postgres -c "SELECT (SELECT count(*) FROM light_too), to_regclass('dropped') IS NULL AND to_regclass('light') IS NULL"
    PGPORT=$RESTORED_PORT expect_out t sql postgres -c "SELECT count(*) = max(n) AND max(n) BETWEEN $1 AND $2 FROM ledger"
    PGPORT=$RESTORED_PORT expect_out f sql postgres -c "SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'early')"
}
judge_checksums() { # TARGET: stopped. Of other versions the server has seen to it, for amcheck has read all
    [ "$MAJOR" -eq 15 ] || return 0
    as_postgres "$PG15/pg_checksums" --check -D "$1" >"$T/checksums.log" 2>&1 || fail "pg_checksums: $(cat "$T/checksums.log")"
    grep -q "Bad checksums:  0" "$T/checksums.log" || fail "$(cat "$T/checksums.log")"
}
ledger() { sql postgres -c "SELECT coalesce(max(n), 0) FROM ledger"; }

# ---- the tests ---------------------------------------------------------------------------------------------------
test_resume() {
    local low high want target=$T/run/restored-$MAJOR
    load "$MAJOR"
    drop_hold
    load_start
    local ended=0
    case $MAJOR in 13 | 16 | 18) ended=1 ;; esac
    drive_start whole 3 400000 "$ended"
    drive_until whole lost-1
    kill_session
    changes_1 "$MAJOR"
    drive_go whole go-1
    drive_until whole lost-2
    changes_2
    postgres_stop "$MAJOR" "$DATA" immediate
    postgres_start "$MAJOR" "$DATA"
    load_end
    load_start
    drive_go whole go-2
    drive_until whole end
    turnover
    low=$(ledger)
    [ "$low" -gt 0 ] || fail "the ledger is empty"
    drive_go whole go-end
    drive_ends whole 0 "committed at *"
    high=$(ledger)
    want=$(digest "$PGPORT")
    load_end
    sed 's/^/   /' "$T/drive-whole.out"
    [ "$(grep -c '^attempt [123]: .* 0 corrupt$' "$T/drive-whole.out")" -eq 3 ] || fail "attempts: $(cat "$T/drive-whole.out")"
    grep '^problem' "$T/drive-whole.out" && fail "problems"

    restore whole "$target"
    judge_files "$target"
    echo "port = $RESTORED_PORT" >>"$target/postgresql.conf"
    PGPORT=$RESTORED_PORT postgres_start "$MAJOR" "$target"
    [ "$(digest "$RESTORED_PORT")" = "$want" ] || fail "tables differ: $(digest "$RESTORED_PORT") instead of $want"
    judge_cluster "$low" "$high"
    postgres_stop "$MAJOR" "$target"
    judge_checksums "$target"
    rm -rf "$target" "$target-space"
}

# ---- log behind a resumed snapshot ------------------------------------------------------------------------------
log_is_there() { # up to what is flushed now
    [ "$(sql postgres -c "SELECT '$(tidemark get backup walog -o json | jq -r .status.logCheckpointPosition)'::pg_lsn >= '$WANTED'::pg_lsn")" = t ]
}
replayed() { # TARGET WANT: a restore to there has so many rows in the ledger
    local dir=$T/restore/later got
    restore later "$dir" --to "$1" --start --port "$RESTORED_PORT" --set unix_socket_directories="$T/run" \
        --set tidemark.bindir="$(bindir "$MAJOR")"
    printf '%s %s\n' "$MAJOR" "$dir" >"$(mark_of "$dir")"
    got=$(PGPORT=$RESTORED_PORT sql postgres -c "SELECT count(*) FROM ledger")
    postgres_stop "$MAJOR" "$dir"
    [ "$got" -eq "$2" ] || fail "restored to $1: $got rows instead of $2"
    judge_checksums "$dir"
    printf '   %s: %s rows\n' "$1" "$got"
}
test_later() {
    step "log behind a resumed snapshot"
    local rows time position
    install -d -o postgres -g postgres "$T/restore"
    daemons_start "$DATA"
    drop_hold
    load_start
    drive_start later 2 2000000
    drive_until later lost-1
    tidemark log start walog --cluster test --storage "file://$T/repo-later" --flush-interval 1s >/dev/null
    tidemark wait backup walog --for=Running --timeout=60s
    postgres_stop "$MAJOR" "$DATA" immediate
    postgres_start "$MAJOR" "$DATA"
    load_end
    load_start
    drive_go later go-1
    drive_until later end
    drive_go later go-end
    drive_ends later 0 "committed at *"
    load_end
    rows=$(ledger)
    time=$(sql postgres -c "SELECT to_char(clock_timestamp(), 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
    position=$(sql postgres -c "SELECT pg_current_wal_insert_lsn()")
    for _ in 1 2 3; do sql postgres -f "$T/ledger.sql"; done
    WANTED=$(sql postgres -c "SELECT pg_current_wal_flush_lsn()")
    wait_for 60 log_is_there
    replayed "$time" "$rows"
    replayed "position:$position" "$rows"
    replayed latest $((rows + 3))
    daemons_stop
}

# ---- what makes the earlier ranges bad --------------------------------------------------------------------------
set_and_reload() { sql postgres -c "ALTER SYSTEM SET $1 = '$2'" -c "SELECT pg_reload_conf()" >/dev/null && wait_for 10 setting_is "$1" "$2"; }
setting_is() { [ "$(sql postgres -c "SHOW $1")" = "$2" ]; }
refused() { # NAME PATTERN CMD…: between two sessions CMD runs; then the driver refuses, and says why
    local name=$1 pattern=$2
    shift 2
    drop_hold
    drive_start "$name" 2 20000000
    drive_go "$name" go-end
    drive_until "$name" lost-1
    kill_session
    "$@"
    drive_go "$name" go-1
    drive_ends "$name" 3 "refused: $pattern"
    rm -rf "$T/repo-$name"
}
cannot="instance 'main': the snapshot cannot be resumed:"
images_off_and_on() { set_and_reload full_page_writes off && set_and_reload full_page_writes on; }
log_taken_away() {
    set_and_reload max_slot_wal_keep_size 1MB
    for _ in 1 2 3 4; do sql postgres -c "SELECT pg_logical_emit_message(true, 'x', 'y')" -c "SELECT pg_switch_wal()" >/dev/null; done
    sql postgres -c CHECKPOINT
    set_and_reload max_slot_wal_keep_size 4GB
}
make_space() {
    install -d -o postgres -g postgres "$T/other-space"
    sql postgres -c "CREATE TABLESPACE other LOCATION '$T/other-space'"
}
drop_space() { sql postgres -c "DROP TABLESPACE other"; }
make_and_drop_space() { make_space && drop_space; }
copy_and_change() {
    local how=
    [ "$MAJOR" -lt 15 ] || how="STRATEGY file_copy"
    sql postgres -c "CREATE DATABASE copied TEMPLATE still $how"
    sql still -c "INSERT INTO here VALUES (7)"
    sql postgres -c "DROP DATABASE copied"
}
other_checksums() {
    postgres_stop "$MAJOR" "$DATA"
    as_postgres "$PG15/pg_checksums" "$1" -D "$DATA" >/dev/null
    postgres_start "$MAJOR" "$DATA"
}
set_back() { # a server that is restored to what it was
    postgres_stop "$MAJOR" "$DATA" immediate
    rm -rf "$DATA"
    cp -a "$T/old" "$DATA"
    postgres_start "$MAJOR" "$DATA"
}
set_back_and_on() { # … and then writes more than what was stored
    set_back
    sql postgres -c "INSERT INTO ledger SELECT n, 'x' FROM generate_series(10000000, 10200000) n"
}
put_aside() { # immediate: a stop that waits for readers of log waits for one that came back meanwhile
    postgres_stop "$MAJOR" "$DATA" immediate
    rm -rf "$T/old"
    cp -a "$DATA" "$T/old"
    postgres_start "$MAJOR" "$DATA"
    sql postgres -c "INSERT INTO ledger SELECT n, 'y' FROM generate_series(20000000, 20005000) n"
}
refused_third() { # NAME PATTERN CMD…: as refused, but what was put aside between the first two comes back before the third
    local name=$1 pattern=$2
    shift 2
    drop_hold
    drive_start "$name" 3 20000000
    drive_go "$name" go-end
    drive_until "$name" lost-1
    kill_session # a server that stops waits for whoever reads its log
    put_aside
    drive_go "$name" go-1
    drive_until "$name" lost-2
    kill_session
    "$@"
    drive_go "$name" go-2
    drive_ends "$name" 3 "refused: $pattern"
    rm -rf "$T/repo-$name"
}
reset_log() {
    postgres_stop "$MAJOR" "$DATA"
    as_postgres "$PG15/pg_resetwal" -f "$DATA" >/dev/null
    postgres_start "$MAJOR" "$DATA"
}
other_timeline() { # as a failover does it, on the same host
    postgres_stop "$MAJOR" "$DATA"
    as_postgres touch "$DATA/recovery.signal"
    echo "restore_command = 'false'" >>"$DATA/postgresql.auto.conf"
    postgres_start "$MAJOR" "$DATA"
}
test_refusals() {
    step "what makes the earlier ranges bad is told"
    refused images 'full_page_writes was off at [0-9A-F]*/[0-9A-F]*' images_off_and_on
    refused no-images "$cannot full_page_writes is off" set_and_reload full_page_writes off
    set_and_reload full_page_writes on
    refused no-hold "$cannot replication slot '$HOLD', which held the log, is gone" drop_hold
    refused lost-hold "$cannot the server gave up replication slot '$HOLD', which held the log" log_taken_away
    refused new-space "$cannot tablespace [0-9]* at '$T/other-space' was created since the earlier attempt" make_space
    refused old-space "$cannot tablespace [0-9]* at '$T/other-space' was dropped since the earlier attempt" drop_space
    refused brief-space "tablespace [0-9]* at '$T/other-space' was created at [0-9A-F]*/[0-9A-F]*, between the attempts" make_and_drop_space
    refused template "database [0-9]* was copied by files from database [0-9]* at [0-9A-F]*/[0-9A-F]*, which was changed at [0-9A-F]*/[0-9A-F]*" \
        copy_and_change
    if [ "$MAJOR" -eq 15 ]; then
        refused checksums "$cannot page checksums have version 0 now, at the earlier attempt 1 (0 is none)" other_checksums --disable
        refused checksums-on "$cannot page checksums have version 1 now, at the earlier attempt 0 (0 is none)" other_checksums --enable
    fi
    refused_third back "$cannot the server's log ends at [0-9A-F]*/[0-9A-F]*, but is stored up to [0-9A-F]*/[0-9A-F]*: the server was set back" set_back
    refused_third back-and-on "the log since the first start is not of one piece: log at *" set_back_and_on
    refused timeline "$cannot the server is on timeline 2 now, the earlier attempt was on 1" other_timeline
}
test_second_timeline() {
    step "a snapshot of timeline 2 is resumed"
    local target=$T/run/second rows
    drop_hold
    drive_start second 2 20000000
    drive_until second lost-1
    rows=$(ledger)
    postgres_stop "$MAJOR" "$DATA" immediate
    postgres_start "$MAJOR" "$DATA"
    drive_go second go-1
    drive_until second end
    drive_go second go-end
    drive_ends second 0 "committed at *"
    restore second "$target"
    judge_files "$target"
    echo "port = $RESTORED_PORT" >>"$target/postgresql.conf"
    PGPORT=$RESTORED_PORT postgres_start "$MAJOR" "$target"
    PGPORT=$RESTORED_PORT expect_out "$rows" ledger
    postgres_stop "$MAJOR" "$target"
    judge_checksums "$target"
}

majors=()
for major in "${@:-${TIDEMARK_TEST_MAJORS:-13 15 18}}"; do
    for MAJOR in $major; do majors+=("$MAJOR"); done
done
more=${majors[0]}
case " ${majors[*]} " in *" 15 "*) more=15 ;; esac
for MAJOR in "${majors[@]}"; do
    DATA=$T/data-$MAJOR CHECKSUMS=on
    options=(-k)
    case $MAJOR in 13 | 16) options=() CHECKSUMS=off ;; esac
    step "PostgreSQL $MAJOR, checksums $CHECKSUMS"
    postgres_init "$MAJOR" "$DATA" "${options[@]}"
    cat >>"$DATA/postgresql.conf" <<X
max_wal_size = 96MB
min_wal_size = 32MB
checkpoint_timeout = 30s
max_prepared_transactions = 5
max_slot_wal_keep_size = 4GB
autovacuum_naptime = 1s
timezone = UTC
X
    [ "$MAJOR" -ne 16 ] || echo "wal_log_hints = on" >>"$DATA/postgresql.conf"
    postgres_start "$MAJOR" "$DATA"
    test_resume
    if [ "$MAJOR" = "$more" ]; then
        test_later
        test_refusals
        test_second_timeline
    fi
    postgres_stop "$MAJOR" "$DATA"
    rm -rf "$DATA" "$T"/repo-* "$T/space-$MAJOR"
done
