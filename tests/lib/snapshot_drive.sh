# shellcheck shell=bash
# Sourced behind harness.sh by tests of a snapshot that plays runner and coordinator by hand, in several sessions
# (resume_drive_test), on one server of version $MAJOR in $DATA that changes all the time; and how what comes of it
# is judged.
#
#   load MAJOR · load_start · load_end           tables, databases and a tablespace; clients that write
#   changes_1 MAJOR · changes_2 · changes_3 · turnover   what comes, goes and is rewritten meanwhile
#   drive_start NAME ATTEMPTS [BYTES [ENDED [STATES [STANDBY_DIR CONNINFO]]]] · drive_until NAME GATE · drive_go NAME GATE
#   drive_ends NAME STATUS PATTERN · kill_session · drop_hold
#   restore NAME TARGET [options] · judge_files TARGET · judge_cluster LOW HIGH · judge_prepared TARGET GIDS
#   judge TARGET LOW HIGH WANT                   all of them, and what was prepared is committed there
#   digest PORT · ledger
#
# Transactions are prepared all the time, each with a row of its own and two subtransactions:
#   done, open     before the first start; done is committed by changes_1
#   older          began before the first start (older_begin, once), is prepared by changes_1
#   new, gone      begin and are prepared in changes_1; gone is rolled back by changes_2
#   lost           in changes_2, before the second session is lost
#   last           in changes_3, before the stop
# They must be there after the restore just as they are on the source then, and commit.
. "$TOP/tests/lib/prepared.sh"
DRIVE=$BUILD/tests/unit/agent/engine/postgres/resume_drive_test
[ -x "$DRIVE" ] || skip "$DRIVE is not built"
install -m 755 "$DRIVE" "$T/drive"
CONNINFO="host=$T/run port=$PGPORT user=postgres dbname=postgres"
HOLD=tidemark_resume_test
RESTORED_PORT=$((PGPORT + 1))

# ---- the driver -------------------------------------------------------------------------------------------------
gate() { printf '%s/run/gate-%s' "$T" "$1"; }
drive_start() { # NAME ATTEMPTS [BYTES [ENDED [STATES [STANDBY_DIR CONNINFO]]]]
    rm -rf "$(gate "$1")".* "$T/repo-$1"
    install -d -o postgres -g postgres "$T/repo-$1"
    rm -f "$T/drive-$1.out"
    spawn "$T/drive-$1.out" "$T/drive" "$DATA" "$CONNINFO" "file://$T/repo-$1" "$HOLD" "$2" "$(gate "$1")" "${3:-1000000}" "${4:-0}" "${@:5}"
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
    pgbench -i -q -s "${SCALE:-4}" postgres >/dev/null 2>&1
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
        -c "CREATE UNLOGGED TABLE slow AS SELECT 1 AS n" -c "CREATE FUNCTION waits(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_advisory_xact_lock_shared(77); RETURN n; END'" \
        -c "$PREPARED_TABLE" -c "CREATE TABLE burned (n int)" \
        -c "CREATE TABLE shared AS SELECT n FROM generate_series(1, 3) n" \
        -c "SELECT pg_replication_origin_create('elsewhere')" >/dev/null
    prepare "done"
    prepare open
    for name in early still; do
        sql postgres -c "CREATE DATABASE $name"
        sql "$name" -c "CREATE TABLE here AS SELECT n FROM generate_series(1, 5000) n" -c "VACUUM (FREEZE, ANALYZE)"
    done
    printf '%s\n' '\set n random(1, 3)' "BEGIN;" "SELECT n FROM shared WHERE n = :n FOR SHARE;" \
        "SELECT n FROM shared WHERE n = 4 - :n FOR KEY SHARE;" "END;" >"$T/locks.sql"
    echo "INSERT INTO ledger SELECT coalesce(max(n), 0) + 1, md5(random()::text) FROM ledger;" >"$T/ledger.sql"
    chmod 644 "$T/ledger.sql" "$T/locks.sql"
}
load_start() {
    writer_start postgres
    "$PG15/pgbench" -n -c 1 -T 3600 -f "$T/ledger.sql" postgres >"$T/ledger.log" 2>&1 &
    LEDGER_PID=$!
    "$PG15/pgbench" -n -c 3 -R 300 -T 3600 -f "$T/locks.sql" postgres >"$T/locks.log" 2>&1 & # multixacts
    LOCKS_PID=$!
    printf '%s\n' "$LEDGER_PID" "$LOCKS_PID" >>"$T/pids"
}
load_end() { # whether they live or not: a server that went away ended them
    end_process "$WRITER_PID"
    end_process "$LEDGER_PID"
    end_process "$LOCKS_PID"
}
is_prepared() { [[ " $(prepared) " == *" $1 "* ]]; }
older_begin() { # a session that has its number already, and waits
    mkfifo "$T/older"
    "$PG15/psql" -XAtq -v ON_ERROR_STOP=1 -d postgres <"$T/older" >"$T/older.log" 2>&1 &
    OLDER_PID=$!
    echo "$OLDER_PID" >>"$T/pids"
    exec 7>"$T/older"
    echo "BEGIN; $(rows_of older) SELECT 'begun';" >&7
    wait_for 30 grep -qx begun "$T/older.log"
}
older_prepare() {
    printf '%s\n' "PREPARE TRANSACTION 'older';" '\q' >&7 # others that were started meanwhile keep the pipe open
    exec 7>&-
    wait "$OLDER_PID" || fail "older: $(cat "$T/older.log")"
    rm -f "$T/older"
    OLDER_PID=
    is_prepared older || fail "older is not prepared: $(cat "$T/older.log")"
}
# An index of an unlogged table that is being built looks like any other, for its _init fork is made last.
build_begin() {
    sql postgres -c "INSERT INTO slow VALUES (1)" # a server that was stopped at once has emptied it
    mkfifo "$T/lock"
    "$PG15/psql" -XAtq -d postgres <"$T/lock" >"$T/lock.log" 2>&1 &
    echo "$!" >>"$T/pids"
    exec 6>"$T/lock"
    echo "SELECT pg_advisory_lock(77); SELECT 'held';" >&6
    wait_for 30 grep -qx held "$T/lock.log"
    "$PG15/psql" -XAtq -v ON_ERROR_STOP=1 -d postgres -c "CREATE INDEX slow_n ON slow (waits(n))" >"$T/build.log" 2>&1 &
    BUILD_PID=$!
    echo "$BUILD_PID" >>"$T/pids"
    wait_for 30 builds
}
builds() { [ "$(sql postgres -c "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX slow_n%' AND wait_event = 'advisory'")" = 1 ]; }
build_end() {
    echo '\q' >&6
    exec 6>&-
    wait "$BUILD_PID" || fail "the index: $(cat "$T/build.log")"
    rm -f "$T/lock"
}
burn() { # as many transaction numbers as two pages of pg_xact have
    sql postgres -c "DO \$\$ BEGIN FOR i IN 1..66000 LOOP BEGIN INSERT INTO burned VALUES (i); EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END \$\$" \
        -c "TRUNCATE burned"
}
turnover() { sql postgres -c CHECKPOINT -c "SELECT pg_switch_wal()" >/dev/null; }
changes_1() {
    local major=$1
    turnover
    sql postgres -c "DROP TABLE dropped" -c "TRUNCATE emptied" -c "INSERT INTO emptied SELECT n, md5(n::text) FROM generate_series(1, 2000) n" \
        -c "DELETE FROM shrunk WHERE n > 3000" -c "VACUUM shrunk" -c "CREATE INDEX indexed_t ON indexed (t)" \
        -c "VACUUM FULL rewritten" -c "ALTER TABLE heavier SET LOGGED" -c "CREATE UNLOGGED TABLE light_too AS SELECT 1 AS n" \
        -c "CREATE TABLE fresh AS SELECT n, md5(n::text) AS t FROM generate_series(1, 20000) n" -c "SELECT count(*) FROM fresh" \
        -c "COMMIT PREPARED 'done'" -c "SELECT pg_replication_origin_advance('elsewhere', '0/1000')" \
        -c "VACUUM FULL pg_class" -c "REINDEX TABLE pg_database" >/dev/null
    [ -z "${OLDER_PID:-}" ] || older_prepare
    prepare new
    prepare gone
    burn
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
    sql postgres -c "DROP DATABASE early" -c "VACUUM FULL pg_authid" -c "ROLLBACK PREPARED 'gone'" \
        -c "SELECT pg_replication_origin_advance('elsewhere', '0/2000')" >/dev/null
    prepare lost
    turnover
}
changes_3() {
    prepare last
    burn
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
        UNION ALL SELECT 'prepared', count(*), string_agg(gid, ',' ORDER BY gid) FROM pg_prepared_xacts
        UNION ALL SELECT 'committed', count(*), string_agg(gid, ',' ORDER BY gid) FROM prepared
        UNION ALL SELECT 'origin', 0, pg_replication_origin_progress('elsewhere', false)::text ORDER BY 1"
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
    PGPORT=$RESTORED_PORT expect_out "0|t" sql postgres -c "SELECT (SELECT count(*) FROM light_too) + (SELECT count(*) FROM slow), to_regclass('dropped') IS NULL AND to_regclass('light') IS NULL"
    PGPORT=$RESTORED_PORT expect_out t sql postgres -c "SELECT count(*) = max(n) AND max(n) BETWEEN $1 AND $2 FROM ledger"
    PGPORT=$RESTORED_PORT expect_out 5 sql postgres -c "INSERT INTO slow VALUES (5)" -c "SET enable_seqscan = off" -c "SELECT n FROM slow WHERE waits(n) = 5"
    PGPORT=$RESTORED_PORT expect_out f sql postgres -c "SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'early')"
}
# What is open on the source is committed there; then nothing of it is left, and a server that starts again knows.
judge_prepared() { # TARGET GIDS: started, on RESTORED_PORT
    grep -h "removing future two-phase\|PANIC:\|FATAL:  \(invalid\|could not\)" "$T/run/$(basename "$1").log" && fail "what $1 says"
    expect_out "$2" prepared
    # shellcheck disable=SC2086
    commit_prepared $2 -- "done"
    sql postgres -c "VACUUM (FREEZE) shared" -c "VACUUM (FREEZE) prepared" -c CHECKPOINT # reads each multixact, and each number
    postgres_stop "$MAJOR" "$1"
    [ -z "$(ls "$1/pg_twophase")" ] || fail "left: $(ls "$1/pg_twophase")"
    postgres_start "$MAJOR" "$1"
    expect_out "" prepared
    expect_out 3 sql postgres -c "SELECT count(*) FROM shared"
}
judge() { # TARGET LOW HIGH WANT: restored; WANT is the source's digest then
    local got gids
    gids=$(prepared)
    judge_files "$1"
    echo "port = $RESTORED_PORT" >>"$1/postgresql.conf"
    PGPORT=$RESTORED_PORT postgres_start "$MAJOR" "$1"
    got=$(digest "$RESTORED_PORT")
    [ "$got" = "$4" ] || fail "tables differ: $got instead of $4"
    PGPORT=$RESTORED_PORT judge_prepared "$1" "$gids"
    judge_cluster "$2" "$3"
    postgres_stop "$MAJOR" "$1"
    [ "$CHECKSUMS" = off ] || pages_are_good "$MAJOR" "$1"
    rm -rf "$1" "$1-space"
}
ledger() { sql postgres -c "SELECT coalesce(max(n), 0) FROM ledger"; }
