#!/usr/bin/env bash
# Commits whose records lie across the start of a segment, at which one writer of the log ends and the next begins: every
# record is told of exactly once, whoever sees its end. The records are made by a real server: commits, a prepared transaction
# and its commit that make and drop thousands of files, each longer than a segment; a writer is cut off at every segment's
# start inside them, and a little behind.
#
#   log_cut_test.sh [MAJOR…]     default: 15
. "$(dirname "$0")/../lib/harness.sh"

CUT=$BUILD/tests/unit/agent/log/cut_drive_test
DUMP=$BUILD/tests/unit/agent/engine/postgres/wal_dump_test
[ -x "$CUT" ] && [ -x "$DUMP" ] || skip "$CUT or $DUMP is not built"
SEGMENT=1048576
num() { printf '%d' $((0x${1%/*} << 32 | 0x${1#*/})); }
lsn() { printf '%X/%X' $(($1 >> 32)) $(($1 & 0xFFFFFFFF)); }
now() { sql postgres -c "SELECT pg_current_wal_flush_lsn()"; }

start_server() {
    postgres_init "$MAJOR" "$DATA" --wal-segsize=1
    as_postgres sh -c "cat >>'$DATA/postgresql.conf'" <<X
max_prepared_transactions = 5
max_connections = 20
max_locks_per_transaction = 1000
autovacuum = off
wal_keep_size = 2GB
X
    postgres_start "$MAJOR" "$DATA"
    ID=$(sql postgres -c "SELECT system_identifier FROM pg_control_system()")
}

GENERATION=0
store() { # LSN: one writer's life
    GENERATION=$((GENERATION + 1))
    as_postgres "$T/cut" store "$DATA" "host=$T/run port=$PGPORT user=postgres dbname=postgres" "$ID" "file://$T/repo-$MAJOR" "$GENERATION" "$1" \
        >"$T/store.log" 2>&1 || fail "up to $1: $(cat "$T/store.log")"
}

make_tables() { # PREFIX
    sql postgres -c "DO \$\$ BEGIN FOR k IN 1..1500 LOOP EXECUTE 'CREATE TABLE $1' || k || ' (n int PRIMARY KEY, v int UNIQUE)'; END LOOP; END \$\$"
}
drop_tables="DO \$\$ BEGIN FOR k IN 1..1500 LOOP BEGIN EXECUTE format('DROP TABLE %I', 'PREFIX' || k); EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END \$\$"
load() {
    make_tables one
    make_tables two
    sql postgres -c "${drop_tables/PREFIX/one}"
    sql postgres -c "BEGIN" -c "${drop_tables/PREFIX/two}" -c "PREPARE TRANSACTION 'large'"
    sql postgres -c "CREATE TABLE between (n int)"
    sql postgres -c "COMMIT PREPARED 'large'"
    sql postgres -c "SELECT pg_create_restore_point('behind')" -c "CREATE TABLE last (n int)" >/dev/null
}

segment_files() { # all from where the log begins to be stored
    local at=$1 name
    FILES=()
    while name=$(printf '%s/pg_wal/00000001%08X%08X' "$DATA" 0 $((at / SEGMENT))) && [ -e "$name" ] &&
        [ "$(od -An -tx8 -j8 -N8 "$name" | tr -d ' ')" = "$(printf '%016x' "$at")" ]; do
        FILES+=("$name")
        at=$((at + SEGMENT))
    done
}
dump() { "$DUMP" "$1" "$MAJOR" "$SEGMENT" "$(lsn "$FIRST")" "$NEXT_XID" 4194304 "${FILES[@]}"; }

cuts() { # a line each: every segment's start inside a long record of the transaction manager
    local at length boundary
    dump records | awk '$6 == 1 && $4 > 200000 {print $2, $4}' >"$T/long"
    [ "$(wc -l <"$T/long")" -eq 5 ] || fail "not three commits, a prepared transaction and its commit: $(cat "$T/long")"
    while read -r at length; do
        at=$(num "$at")
        boundary=$(((at / SEGMENT + 1) * SEGMENT))
        [ $((boundary + 200)) -lt $((at + length)) ] || fail "the record at $(lsn "$at") lies across no segment's start"
        while [ $((boundary + 10000)) -lt $((at + length)) ]; do
            printf '%s\n' "$boundary" "$((boundary + 77))" "$((boundary + 8192))"
            boundary=$((boundary + SEGMENT))
        done
    done <"$T/long"
}

# shellcheck disable=SC2068 # majors are words
for MAJOR in ${@:-15}; do
    step "PostgreSQL $MAJOR"
    DATA=$T/data-$MAJOR
    install -m 755 "$CUT" "$T/cut"
    install -d -o postgres -g postgres "$T/repo-$MAJOR"
    start_server
    NEXT_XID=$(sql postgres -c "SELECT pg_snapshot_xmax(pg_current_snapshot())")
    BEGIN=$(now)
    FIRST=$(($(num "$BEGIN") / SEGMENT * SEGMENT))
    store "$BEGIN" # the log is held from now on
    load
    END=$(now)
    segment_files "$FIRST"
    cuts >"$T/cuts"
    while read -r at; do store "$(lsn "$at")"; done <"$T/cuts"
    store "$END"
    dump index | grep '^event ' >"$T/want"
    as_postgres "$T/cut" events "$ID" "file://$T/repo-$MAJOR" >"$T/stored" 2>"$T/events.log" || fail "$(cat "$T/events.log")"
    [ "$(grep -c '^chunk ' "$T/stored")" -gt "$(wc -l <"$T/cuts")" ] || fail "too few chunks: $(cat "$T/stored")"
    grep '^event ' "$T/stored" >"$T/have"
    diff "$T/want" "$T/have" >"$T/diff" || fail "what is told of is not what was written: $(cat "$T/diff")"
    printf '   %d writers, %d events, long records: %s\n' "$GENERATION" "$(wc -l <"$T/have")" "$(tr '\n' ' ' <"$T/long")"
    postgres_stop "$MAJOR" "$DATA"
    rm -rf "$DATA" "$T/repo-$MAJOR"
done
