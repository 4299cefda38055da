#!/usr/bin/env bash
# The log reader and the index on the log of real servers under a mixed load: two-phase, subtransactions, aborts,
# records over segments, databases made both ways, VACUUM FULL, TRUNCATE, every kind of index, tablespaces, settings.
# On 15 every record, block reference and event is compared with pg_waldump; on every version the ends of transactions
# with what the server says (commit timestamps), and the block references with the pages that really changed.
#
#   wal_index_test.sh [MAJOR…]     default: $TIDEMARK_TEST_MAJORS, or 15
. "$(dirname "$0")/../lib/harness.sh"

DUMP=$BUILD/tests/unit/agent/engine/postgres/wal_dump_test
[ -x "$DUMP" ] || skip "$DUMP is not built"
command -v python3 >/dev/null || skip "there is no python3"
CHECK=$TOP/tests/integration/wal_index_check.py
SEGMENT=1048576

start_server() {
    postgres_init "$MAJOR" "$DATA" --wal-segsize=1
    as_postgres sh -c "cat >>'$DATA/postgresql.conf'" <<X
max_prepared_transactions = 20
track_commit_timestamp = on
wal_keep_size = 2GB
autovacuum_naptime = 1s
wal_compression = on
X
    EPOCH=0
    if [ "$MAJOR" -eq 15 ]; then # ids beyond 32 bits
        as_postgres "$PG15/pg_resetwal" -e 3 -D "$DATA" >/dev/null
        EPOCH=3
    fi
    postgres_start "$MAJOR" "$DATA"
    sql postgres -c "SELECT pg_switch_wal()" -c CHECKPOINT >/dev/null
    FROM=$(sql postgres -c "SELECT pg_switch_wal()" >/dev/null; sql postgres -c "SELECT pg_current_wal_flush_lsn()")
    NEXT_XID=$(sql postgres -c "SELECT pg_snapshot_xmax(pg_current_snapshot())")
}

# notes its own transaction, which then commits
noted="INSERT INTO ledger VALUES (pg_current_xact_id()::text::bigint)"

load_transactions() {
    sql postgres <<X
CREATE TABLE ledger (xid bigint);
CREATE TABLE t (n int PRIMARY KEY, v text);
BEGIN; $noted; INSERT INTO t SELECT n, md5(n::text) FROM generate_series(1, 30000) n; COMMIT;
BEGIN; $noted; PREPARE TRANSACTION 'first';
BEGIN; $noted; UPDATE t SET v = v || 'x' WHERE n % 100 = 0; CREATE TABLE twophase (n int); PREPARE TRANSACTION 'second, with a longer name: $(printf 'é%.0s' $(seq 60))';
COMMIT PREPARED 'first';
COMMIT PREPARED 'second, with a longer name: $(printf 'é%.0s' $(seq 60))';
SELECT pg_create_restore_point('before the change');
DO \$\$ BEGIN
    FOR k IN 1..300 LOOP
        BEGIN
            INSERT INTO t VALUES (100000 + k, 'sub');
            IF k % 3 = 0 THEN RAISE EXCEPTION 'no'; END IF;
        EXCEPTION WHEN raise_exception THEN NULL;
        END;
    END LOOP;
    $noted;
END \$\$;
X
    for n in $(seq 1 40); do
        # aborts write a record when they had an id
        sql postgres -c "BEGIN; SELECT 'a ' || pg_current_xact_id() || ' -'; INSERT INTO t VALUES (-$n, ''); SAVEPOINT s; INSERT INTO t VALUES (-1000-$n, ''); CREATE TABLE gone (n int); ROLLBACK" >>"$T/ledger"
    done
    sql postgres -c "BEGIN" -c "SELECT 'a ' || pg_current_xact_id() || ' -'" -c "CREATE TABLE gone AS SELECT n FROM generate_series(1, 1000) n" \
        -c "PREPARE TRANSACTION 'aborted'" -c "ROLLBACK PREPARED 'aborted'" >>"$T/ledger"
    sql postgres -c "CHECKPOINT" -c "SELECT pg_create_restore_point('point $(printf 'p%.0s' $(seq 50))')" >/dev/null
    cat >"$T/mixed.sql" <<X
\set n random(1, 30000)
BEGIN;
$noted;
UPDATE t SET v = md5(v) WHERE n = :n;
END;
X
    pgbench -n -c 4 -j 2 -t 100 -f "$T/mixed.sql" postgres >/dev/null 2>"$T/mixed.log" || fail "$(cat "$T/mixed.log")"
}

load_files() {
    local space=$T/space-$MAJOR way ways=('') k
    install -d -o postgres -g postgres "$space"
    [ "$MAJOR" -lt 15 ] || ways=('STRATEGY = file_copy' 'STRATEGY = wal_log')
    sql postgres -c "CREATE TABLESPACE far LOCATION '$space'"
    for k in "${!ways[@]}"; do
        way=${ways[$k]}
        sql postgres -c "CREATE DATABASE made$k TEMPLATE template1 $way" -c "CREATE DATABASE dropped$k TEMPLATE template1 TABLESPACE far $way"
        sql "made$k" -c "CREATE TABLE inside AS SELECT n FROM generate_series(1, 5000) n"
        sql "dropped$k" -c "CREATE TABLE inside AS SELECT n FROM generate_series(1, 100) n"
        sql postgres -c "DROP DATABASE dropped$k"
    done
    sql postgres <<X
CREATE TABLE far_table TABLESPACE far AS SELECT n, repeat(md5(n::text), 4) AS v FROM generate_series(1, 5000) n;
CREATE TABLE full_table AS SELECT n, md5(n::text) AS v FROM generate_series(1, 20000) n;
DELETE FROM full_table WHERE n % 2 = 0;
VACUUM FULL full_table;
CREATE TABLE tail AS SELECT n, md5(n::text) AS v FROM generate_series(1, 20000) n;
VACUUM tail;
DELETE FROM tail WHERE n > 1000;
VACUUM tail;
INSERT INTO tail SELECT n, 'again' FROM generate_series(1, 3000) n;
CREATE TABLE emptied AS SELECT n, md5(n::text) AS v FROM generate_series(1, 20000) n;
TRUNCATE emptied;
INSERT INTO emptied VALUES (1, 'one');
CREATE UNLOGGED TABLE light AS SELECT n FROM generate_series(1, 1000) n;
CREATE TABLE many (n int, v text, a int[], b box, r int4range);
INSERT INTO many SELECT n, md5(n::text), array[n % 10, n % 7], box(point(n, n), point(n + 1, n + 1)), int4range(n, n + 3) FROM generate_series(1, 5000) n;
CREATE INDEX ON many USING hash (n);
CREATE INDEX ON many USING gin (a);
CREATE INDEX ON many USING gist (b);
CREATE INDEX ON many USING spgist (v);
CREATE INDEX ON many USING brin (n);
CREATE INDEX ON many (v);
INSERT INTO many SELECT n, md5(n::text), array[n % 10, n % 7], box(point(n, n), point(n + 1, n + 1)), int4range(n, n + 3) FROM generate_series(5001, 12000) n;
DELETE FROM many WHERE n % 5 = 0;
VACUUM many;
CLUSTER t USING t_pkey;
CREATE SEQUENCE s;
SELECT count(nextval('s')) FROM generate_series(1, 100);
DO \$\$ BEGIN FOR k IN 1..600 LOOP EXECUTE 'CREATE TABLE brief' || k || ' (n int PRIMARY KEY, v text)'; END LOOP; END \$\$;
X
    # one commit record with 1200 files and 600 subtransactions, and records longer than segments
    sql postgres <<X >/dev/null
DO \$\$ BEGIN FOR k IN 1..600 LOOP BEGIN EXECUTE 'DROP TABLE brief' || k; EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; $noted; END \$\$;
SELECT pg_logical_emit_message(true, 'long', repeat('x', 3000000));
BEGIN; $noted; SELECT pg_logical_emit_message(true, 'long', repeat('y', 2500000)); COMMIT;
CREATE TABLE moved AS SELECT n FROM generate_series(1, 2000) n;
ALTER TABLE moved SET TABLESPACE far;
X
}

load_settings() {
    sql postgres -c "ALTER SYSTEM SET full_page_writes = off"
    reload_conf
    # the checkpointer reads settings before it does what it is asked for, and writes the change into the log
    sql postgres -c CHECKPOINT -c "UPDATE t SET v = v || '.' WHERE n < 2000" -c CHECKPOINT
    sql postgres -c "ALTER SYSTEM RESET full_page_writes" -c "ALTER SYSTEM SET wal_compression = off"
    reload_conf
    sql postgres -c CHECKPOINT
    if [ "$MAJOR" -ge 15 ]; then
        for method in pglz lz4 zstd; do
            sql postgres -c "ALTER SYSTEM SET wal_compression = $method" >/dev/null 2>&1 || continue
            reload_conf
            sql postgres -c CHECKPOINT -c "UPDATE t SET v = v || '.' WHERE n % 40 = 0" >/dev/null
        done
    fi
    postgres_stop "$MAJOR" "$DATA"
    echo "max_connections = 90" >>"$DATA/postgresql.auto.conf"
    postgres_start "$MAJOR" "$DATA"
    sql postgres -c "UPDATE t SET v = v || '.' WHERE n % 30 = 0" -c "DROP TABLE far_table" -c "DROP TABLE moved" -c "DROP TABLESPACE far"
}

relation_files() { # every file of permanent relations of one database, and the shared ones
    sql "$1" -c "SELECT CASE WHEN c.relisshared THEN 1664 WHEN c.reltablespace = 0 THEN d.dattablespace ELSE c.reltablespace END || '/' ||
        CASE WHEN c.relisshared THEN 0 ELSE d.oid END || '/' || pg_relation_filenode(c.oid) || ' $DATA/' || pg_relation_filepath(c.oid)
        FROM pg_class c, pg_database d WHERE d.datname = current_database() AND c.relpersistence = 'p' AND pg_relation_filepath(c.oid) IS NOT NULL" |
        while read -r name path; do
            for file in "$path" "$path"_vm "$path".1; do
                [ ! -e "$file" ] || printf '%s %s\n' "$name" "$file"
            done
        done
}

collect() {
    local database
    sql postgres -c "SELECT 'c ' || xid || ' ' || (extract(epoch FROM pg_xact_commit_timestamp((xid & 4294967295)::text::xid)) * 1000000)::bigint FROM ledger" >>"$T/ledger"
    sql postgres -c CHECKPOINT
    : >"$T/files"
    for database in $(sql postgres -c "SELECT datname FROM pg_database WHERE datallowconn"); do relation_files "$database" >>"$T/files"; done
    postgres_stop "$MAJOR" "$DATA"
    # the files from FROM on, up to the last that was written
    FILES=()
    local at=$((0x${FROM#*/})) name
    while name=$(printf '%s/pg_wal/00000001%08X%08X' "$DATA" 0 $((at / SEGMENT))) && [ -e "$name" ] &&
        [ "$(od -An -tx8 -j8 -N8 "$name" | tr -d ' ')" = "$(printf '%016x' $((at / SEGMENT * SEGMENT)))" ]; do
        FILES+=("$name")
        at=$((at + SEGMENT))
    done
    [ "${#FILES[@]}" -gt 10 ] || fail "only ${#FILES[@]} log files"
}

dump() { "$DUMP" "$1" "$MAJOR" "$SEGMENT" "$(printf '0/%X' $((0x${FROM#*/} / SEGMENT * SEGMENT)))" "$2" "$3" "${FILES[@]}"; }
check() { "$CHECK" "$@" >"$T/check.out" 2>&1 || fail "$1: $(cat "$T/check.out")"; sed 's/^/   /' "$T/check.out"; }
has() { grep -q "$1" "$T/index" || fail "the index does not say '$1'"; }

compare() {
    dump records 0 77777 >"$T/records" || fail "records"
    dump index "$NEXT_XID" 4194304 >"$T/index" || fail "index"
    check index "$T/records" "$T/index"
    check ledger "$T/index" "$T/ledger"
    check pages "$T/index" "$FROM" "$T/files"
    if [ "$MAJOR" -eq 15 ]; then
        TZ=UTC "$PG15/pg_waldump" "${FILES[0]}" "${FILES[-1]}" >"$T/waldump" 2>"$T/waldump.err" || grep -q 'invalid record length\|record length .* at' "$T/waldump.err" || fail "$(cat "$T/waldump.err")"
        check records "$T/records" "$T/waldump" "$EPOCH" "$T/index"
    fi
    # however it is cut, the same events and blocks
    dump index "$NEXT_XID" 300001 >"$T/index.other"
    for word in event ref; do
        diff <(grep "^$word " "$T/index" | sort -u) <(grep "^$word " "$T/index.other" | sort -u) >"$T/diff" || fail "cut otherwise: $(head -5 "$T/diff")"
    done
    # without an id to begin with, the first checkpoint says the upper half
    dump index 0 4194304 | grep '^event 1 ' | tail -1 >"$T/last"
    expect_out "$(grep '^event 1 ' "$T/index" | tail -1)" cat "$T/last"
    printf '   %s\n' "$(dump speed "$NEXT_XID" 16777216)"
}

# what only a few records say
expect_items() {
    has '^event 4 .* before the change$'
    has '^event 3 .* first$'
    has '^event 3 .* second, with a longer name: é*$'
    has '^setting 1 [0-9A-F/]* 0$'
    has '^setting 1 [0-9A-F/]* 1$'
    has '^setting 2 [0-9A-F/]* 90 '
    has '^setting 3 [0-9A-F/]* 0 '
    has '^setting 3 [0-9A-F/]* 1 '
    has "^space 1 [0-9A-F/]* [0-9]* 0 0 0 $T/space-$MAJOR\$"
    has '^space 2 [0-9A-F/]* [0-9]* 0 0 0 $'
    has '^space 3 [0-9A-F/]* 1663 [0-9]* 1663 1 $'
    [ "$MAJOR" -lt 15 ] || has '^space 4 [0-9A-F/]* 1663 [0-9]* 0 0 $'
    has '^space 5 [0-9A-F/]* [0-9]* [0-9]* 0 0 $'
    has '^limit [0-9/]*:0 [1-9]'         # VACUUM cut the tail
    has '^limit [0-9/]*:3 0$'            # the unlogged table's init fork
    has '^limit 1663/[0-9]*/0:255 0$'    # a database
    [ "$(grep -c '^limit [0-9/]*:255 0$' "$T/index")" -ge 1200 ] || fail "dropped files"
}

# shellcheck disable=SC2068 # majors are words
for MAJOR in ${@:-${TIDEMARK_TEST_MAJORS:-15}}; do
    step "PostgreSQL $MAJOR"
    DATA=$T/data-$MAJOR
    : >"$T/ledger"
    start_server
    load_transactions >/dev/null
    load_files >/dev/null 2>"$T/files.err" || fail "$(cat "$T/files.err")"
    load_settings
    collect
    compare
    expect_items
    rm -rf "$DATA"
done
