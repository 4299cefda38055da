#!/usr/bin/env bash
# The backup side of the PostgreSQL engine against real servers of every supported version: pg_control, check with
# its refusals, describe, plan, a backup under load restored without any other part of Tidemark.
#
#   pg_engine_test.sh [MAJOR…]     default: $TIDEMARK_TEST_MAJORS, or 13 15 18
. "$(dirname "$0")/../lib/harness.sh"

DRIVE=$BUILD/tests/unit/agent/engine/postgres/engine_drive_test
[ -x "$DRIVE" ] || skip "$DRIVE is not built"
install -m 755 "$DRIVE" "$T/drive"
install -m 755 "${DRIVE%engine_drive_test}session_drive_test" "$T/session-drive"
CONNINFO="host=$T/run port=$PGPORT user=postgres dbname=postgres"
drive() { as_postgres "$T/drive" "$@"; }
# expect_error TEXT CMD…: exit 1 and this text in the error
expect_error() { expect_fail 1 "$@"; }

test_control() {
    local major=$1 data=$2 want
    sql postgres -c 'CHECKPOINT'
    want=$(sql postgres -c "SELECT s.system_identifier, s.pg_control_version, s.catalog_version_no,
        current_setting('server_version_num')::int / 10000, c.checkpoint_lsn, c.redo_lsn, c.timeline_id,
        CASE WHEN c.full_page_writes THEN 't' ELSE 'f' END,
        CASE current_setting('wal_level') WHEN 'minimal' THEN 0 WHEN 'replica' THEN 1 ELSE 2 END,
        current_setting('max_connections'), current_setting('max_worker_processes'), current_setting('max_wal_senders'),
        current_setting('max_prepared_transactions'), current_setting('max_locks_per_transaction'),
        current_setting('track_commit_timestamp'), i.database_block_size, i.blocks_per_segment, i.wal_block_size,
        i.bytes_per_wal_segment, i.data_page_checksum_version
        FROM pg_control_system() s, pg_control_checkpoint() c, pg_control_init() i")
    expect_out "$want
in production" drive control "$data" ''
}

test_refusals() {
    local major=$1 data=$2 other=$T/other-$1
    # rights: what is missing is said, and running just that is enough
    sql postgres -c "CREATE ROLE \"back up\" LOGIN"
    local plain="host=$T/run port=$PGPORT user='back up' dbname=postgres" said
    said=$(drive check "$data" "$plain") && fail "a role without rights passed: $said"
    case $said in
    "error: instance 'main': role \"back up\" lacks rights for a backup; run as a superuser: GRANT EXECUTE ON FUNCTION pg_"*"REPLICATION; (permission denied)") ;;
    *) fail "rights: $said" ;;
    esac
    said=${said#*superuser:}
    sql postgres -c "${said% (permission denied)}"
    expect_out ok drive check "$data" "$plain"
    sql postgres -c "DROP OWNED BY \"back up\"" -c "DROP ROLE \"back up\""

    # places and servers that do not belong together
    expect_error "cannot open data_dir '$T/nowhere'" drive check "$T/nowhere" "$CONNINFO"
    expect_error "cannot connect to PostgreSQL" drive check "$data" "host=$T/run port=1 user=postgres"
    expect_error 'role "nobody" does not exist (permission denied)' drive check "$data" "host=$T/run port=$PGPORT user=nobody dbname=postgres"
    expect_error "cannot use the conninfo: invalid connection option \"hots\"" drive check "$data" "hots=x"
    cp -a "$data" "$other"
    expect_error "data_dir is '$other', but the server that answers user 'postgres' at '$T/run:$PGPORT' runs on '$data'" \
        drive check "$other" "$CONNINFO"
    rm -rf "$other"

    # settings
    local slots
    slots=$(sql postgres -c "SELECT current_setting('max_replication_slots')")
    sql postgres -c "SELECT count(pg_create_physical_replication_slot('s' || n)) FROM generate_series(1, $slots) n" >/dev/null
    expect_error "all replication slots are in use ($slots of max_replication_slots $slots)" drive check "$data" "$CONNINFO"
    sql postgres -c "SELECT count(pg_drop_replication_slot('s' || n)) FROM generate_series(1, $slots) n" >/dev/null
    as_postgres sed -i 's/^local *replication/#&/' "$T/run/etc-$major/pg_hba.conf"
    sql postgres -c "SELECT pg_reload_conf()" >/dev/null
    wait_for 10 sh -c "runuser -u postgres -- '$T/drive' check '$data' '$CONNINFO' | grep -q \"pg_hba.conf needs a line for database 'replication'\""
    as_postgres sed -i 's/^#\(local *replication\)/\1/' "$T/run/etc-$major/pg_hba.conf"
    sql postgres -c "SELECT pg_reload_conf()" >/dev/null
    wait_for 10 sh -c "runuser -u postgres -- '$T/drive' check '$data' '$CONNINFO' | grep -qx ok"
    expect_out ok drive check "$data" "$CONNINFO"
}

# a copy under load, started, must be consistent and complete
test_backup() {
    local major=$1 data=$2 target=$T/run/target-$1 space=$T/space-$1 out
    install -d -o postgres -g postgres "$space"
    sql postgres -c "CREATE TABLESPACE far LOCATION '$space'" -c "CREATE DATABASE second"
    sql second -c "CREATE TABLE quiet AS SELECT n, md5(n::text) AS t FROM generate_series(1, 20000) n" \
        -c "CREATE TABLE distant TABLESPACE far AS SELECT n, repeat(md5(n::text), 8) AS t FROM generate_series(1, 30000) n" \
        -c "CREATE UNLOGGED TABLE light AS SELECT n FROM generate_series(1, 1000) n"
    pgbench -i -q -s 3 postgres >/dev/null 2>&1
    touch "$data/base/pgsql_tmp_never" "$data/global/pg_internal.init.99"
    writer_start postgres -c 3
    sql second -c "CREATE TABLE brief AS SELECT n FROM generate_series(1, 50000) n"
    drive backup "$data" "$CONNINFO" "$target" 1000000 100 "$T/run/gate-$major" >"$T/backup.out" &
    local backup=$!
    wait_for 60 test -e "$T/run/gate-$major.planned"
    sql second -c "DROP TABLE brief" -c "CREATE TABLE late AS SELECT n FROM generate_series(1, 1000) n" -c "VACUUM FULL quiet"
    touch "$T/run/gate-$major.go"
    wait "$backup" || fail "backup: $(cat "$T/backup.out")"
    sql second -c "CREATE TABLE after_all (n int)"
    writer_stop
    out=$(tail -n 1 "$T/backup.out")
    case $out in
    *"links 1 "*"corrupt 0") ;;
    *) fail "backup: $out" ;;
    esac
    printf '   %s\n' "$out"
    expect_out "config: include $T/run/etc-$major/more.conf
config: hba_file $T/run/etc-$major/pg_hba.conf" grep '^config: ' "$T/backup.out"
    [ ! -e "$target/base/pgsql_tmp_never" ] && [ ! -e "$target/postmaster.pid" ] && [ ! -e "$target/global/pg_internal.init.99" ] ||
        fail "excluded files were copied"
    [ "$(find "$target/pg_replslot" "$target/pg_notify" "$target/pg_subtrans" -type f | wc -l)" -eq 0 ] || fail "contents of emptied directories"
    local quiet distant
    quiet=$(sql second -c "SELECT count(*), md5(string_agg(t, ',' ORDER BY n)) FROM quiet")
    distant=$(sql second -c "SELECT count(*), md5(string_agg(t, ',' ORDER BY n)) FROM distant")
    postgres_stop "$major" "$data"

    chmod 700 "$target"
    postgres_start "$major" "$target"
    expect_out "$quiet" sql second -c "SELECT count(*), md5(string_agg(t, ',' ORDER BY n)) FROM quiet"
    expect_out "$distant" sql second -c "SELECT count(*), md5(string_agg(t, ',' ORDER BY n)) FROM distant"
    expect_out 0 sql second -c "SELECT count(*) FROM light"
    expect_out 1000 sql second -c "SELECT count(*) FROM late"
    expect_out '|' sql second -c "SELECT to_regclass('brief'), to_regclass('after_all')"
    expect_out t sql postgres -c "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(bbalance) FROM pgbench_branches)
        AND (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(delta) FROM pgbench_history)"
    sql postgres -c "CREATE EXTENSION IF NOT EXISTS amcheck" 2>/dev/null &&
        sql postgres -c "SELECT bt_index_parent_check(indexrelid, true) FROM pg_index JOIN pg_class ON oid = indexrelid
            JOIN pg_am a ON a.oid = relam WHERE amname = 'btree' AND relpersistence = 'p'" >/dev/null
    postgres_stop "$major" "$target"
    if [ "$major" -eq 15 ]; then as_postgres "$PG15/pg_checksums" --check -D "$target" >/dev/null || fail "pg_checksums"; fi
    rm -rf "$target" "$target"-[0-9]*
    postgres_start "$major" "$data"
    sql postgres -c "DROP DATABASE second" -c "DROP TABLESPACE far"
}

test_corruption() {
    local major=$1 data=$2 target=$T/run/corrupt-$1 path
    sql postgres -c "CREATE TABLE broken AS SELECT n, md5(n::text) AS t FROM generate_series(1, 20000) n" -c CHECKPOINT
    path=$(sql postgres -c "SELECT pg_relation_filepath('broken')")
    postgres_stop "$major" "$data"
    printf 'XXXX' | as_postgres dd of="$data/$path" bs=1 seek=$((7 * 8192 + 5000)) conv=notrunc status=none
    # a log position that was never reached, with a checksum that cannot be right either
    printf '\377\377\377\177' | as_postgres dd of="$data/$path" bs=1 seek=$((9 * 8192)) conv=notrunc status=none
    # a new page that is not empty
    as_postgres dd if=/dev/zero of="$data/$path" bs=8192 seek=11 count=1 conv=notrunc status=none
    printf 'X' | as_postgres dd of="$data/$path" bs=1 seek=$((11 * 8192 + 4000)) conv=notrunc status=none
    # a new page
    as_postgres dd if=/dev/zero of="$data/$path" bs=8192 seek=13 count=1 conv=notrunc status=none
    postgres_start "$major" "$data"
    drive backup "$data" "$CONNINFO" "$target" 100000000 10000 >"$T/corrupt.out" || fail "backup: $(cat "$T/corrupt.out")"
    grep -q "^problem: $path block 7: page checksum is [0-9a-f]\{4\}, the page says [0-9a-f]\{4\} (log position " "$T/corrupt.out" &&
        grep -q "^problem: $path block 9: page has log position 7FFFFFFF/[0-9A-F]*, which the server never reached" "$T/corrupt.out" &&
        grep -q "^problem: $path block 11: page says that it is new, but is not empty" "$T/corrupt.out" ||
        fail "corruption: $(cat "$T/corrupt.out")"
    case $(tail -n 1 "$T/corrupt.out") in
    *"corrupt 3") ;;
    *) fail "corruption: $(tail -n 1 "$T/corrupt.out")" ;;
    esac
    rm -rf "$target" "$target"-[0-9]*
    sql postgres -c "DROP TABLE broken"
}

# '*' makes every standby that reports a flush position a synchronous one; ours reports none
test_not_synchronous() {
    local major=$1 data=$2 target=$T/run/sync-$1
    sql postgres -c "ALTER SYSTEM SET synchronous_standby_names = '*'" -c "SELECT pg_reload_conf()" >/dev/null
    drive backup "$data" "$CONNINFO" "$target" 100000000 10000 "$T/run/sync-gate-$major" >"$T/sync.out" &
    local backup=$! state
    wait_for 10 sh -c "PGOPTIONS='-c synchronous_commit=local' '$PG15/psql' -XAtq -d postgres -c \"SELECT 1 FROM pg_stat_replication\" | grep -q 1"
    state=$(sql postgres -c "SELECT flush_lsn IS NULL AND sync_state <> 'sync' FROM pg_stat_replication")
    touch "$T/run/sync-gate-$major.go"
    wait "$backup" || fail "backup: $(cat "$T/sync.out")"
    sql postgres -c "ALTER SYSTEM RESET synchronous_standby_names" -c "SELECT pg_reload_conf()" >/dev/null
    [ "$state" = t ] || fail "our stream became the synchronous standby: $state"
    rm -rf "$target" "$target"-[0-9]*
}

# the hold, canceling, a lost connection; for the end of a timeline a standby is promoted
test_session() {
    local major=$1 data=$2 standby=$T/run/standby-$1
    expect_fail 0 ok as_postgres "$T/session-drive" "$data" "$CONNINFO"
    [ "$major" -eq 15 ] || return 0
    as_postgres "$PG15/pg_basebackup" -D "$standby" -R -X stream -c fast -C -S standby
    local other_port=$((PGPORT + 1)) other
    echo "port = $other_port" >>"$standby/postgresql.conf"
    postgres_start "$major" "$standby"
    other="host=$T/run port=$other_port user=postgres dbname=postgres"
    expect_error "instance 'main': the server is a standby; a backup is taken from the primary (refused)" \
        drive check "$standby" "$other"
    # the same paths and the same system identifier on both sides do not make it the same server
    expect_error "runs on '$data'" drive check "$standby" "$CONNINFO"
    drive describe "$standby" "$other" | finds '^standby 15\.[0-9]* [0-9]* 1 ' || fail "$(drive describe "$standby" "$other")"
    expect_fail 0 ok as_postgres "$T/session-drive" "$data" "$CONNINFO" "$other" "$PG15/pg_ctl promote -w -D $standby >/dev/null"
    # on its new timeline it is backed up like any other
    drive describe "$standby" "$other" | finds '^primary 15\.[0-9]* [0-9]* 2 ' || fail "$(drive describe "$standby" "$other")"
    drive backup "$standby" "$other" "$T/run/promoted" 100000000 10000 >"$T/promoted.out" || fail "$(cat "$T/promoted.out")"
    postgres_stop "$major" "$standby"
    rm -rf "$standby" "$T/run/promoted"
    sql postgres -c "SELECT pg_drop_replication_slot('standby')" >/dev/null
}

# settings that need a restart
test_settings() {
    local major=$1 data=$2
    set_and_expect() { # SETTINGS TEXT
        postgres_stop "$major" "$data"
        cp -p "$data/postgresql.auto.conf" "$T/auto.conf"
        printf '%s\n' "$1" >>"$data/postgresql.auto.conf"
        postgres_start "$major" "$data"
        expect_error "$2" drive check "$data" "$CONNINFO"
        postgres_stop "$major" "$data"
        cp -p "$T/auto.conf" "$data/postgresql.auto.conf"
        postgres_start "$major" "$data"
    }
    set_and_expect "wal_level = minimal
max_wal_senders = 0" "wal_level is minimal, a backup needs replica or logical"
    set_and_expect "max_wal_senders = 0" "max_wal_senders is 0, a backup streams the log and needs one"
    set_and_expect "max_replication_slots = 0" "max_replication_slots is 0, a backup needs one to hold the log"
}

for majors in "${@:-${TIDEMARK_TEST_MAJORS:-13 15 18}}"; do
    for major in $majors; do
        step "PostgreSQL $major"
        DATA=$T/data-$major
        postgres_init "$major" "$DATA" -k
        # configuration outside the data directory, as Debian keeps it
        install -d -o postgres -g postgres "$T/run/etc-$major"
        mv "$DATA/pg_hba.conf" "$T/run/etc-$major/"
        as_postgres sh -c "echo work_mem = 5MB >'$T/run/etc-$major/more.conf'"
        printf '%s\n' "hba_file = '$T/run/etc-$major/pg_hba.conf'" "include '$T/run/etc-$major/more.conf'" >>"$DATA/postgresql.conf"
        postgres_start "$major" "$DATA"
        test_control "$major" "$DATA"
        expect_out ok drive check "$DATA" "$CONNINFO"
        expect_out "primary $(sql postgres -c "SELECT current_setting('server_version_num')::int / 10000 || '.' || current_setting('server_version_num')::int % 10000 || ' ' || system_identifier || ' 1 sized' FROM pg_control_system()")" \
            drive describe "$DATA" "$CONNINFO"
        test_refusals "$major" "$DATA"
        test_backup "$major" "$DATA"
        test_corruption "$major" "$DATA"
        test_not_synchronous "$major" "$DATA"
        test_session "$major" "$DATA"
        [ "$major" -ne 15 ] || test_settings "$major" "$DATA"
        postgres_stop "$major" "$DATA"
        rm -rf "$DATA"
    done
done
