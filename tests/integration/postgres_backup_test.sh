#!/usr/bin/env bash
# The main promise, on every supported PostgreSQL: a database that is written to while it is backed up is
# restored, and PostgreSQL's own tools find nothing wrong with it.
#
#   postgres_backup_test.sh [MAJOR…]      default: $TIDEMARK_TEST_MAJORS, or 13 14 15 16 17 18
#
# The database has a table over 1 GB (two segment files), a second database, a tablespace, an unlogged table,
# large objects and quiet tables. After the restore: the manifest judges every file, pg_checksums and
# pg_amcheck (where the distribution's know the version) judge every page, the quiet tables are equal byte for
# byte, the unlogged table is empty, and pgbench's sums agree.
set -euo pipefail
TIDEMARK_TEST_DIR=/var/tmp # on a disk: it needs gigabytes
. "$(dirname "$0")/../lib/harness.sh"

BIG_ROWS=${TIDEMARK_TEST_BIG_ROWS:-560000} # × 1,900 bytes, four to a page: over 1 GB

load_database() {
    sql postgres -c "create database second"
    install -d -o postgres -g postgres "$T/space"
    sql postgres -c "create tablespace space location '$T/space'"
    sql postgres -c "create table quiet (id int primary key, t text) tablespace space" \
        -c "insert into quiet select g, md5(g::text) from generate_series(1, 20000) g" \
        -c "create unlogged table fleeting (id int)" -c "insert into fleeting values (1)" \
        -c "create table pictures (id oid)" \
        -c "insert into pictures select lo_from_bytea(0, decode(repeat(md5(g::text), 1000), 'hex')) from generate_series(1, 20) g" \
        -c "create table big (id int, filler text)" \
        -c "alter table big alter filler set storage plain" \
        -c "insert into big select g, repeat(md5(g::text), 60) from generate_series(1, $BIG_ROWS) g"
    sql second -c "create table quiet (id int primary key, b bytea)" \
        -c "insert into quiet select g, decode(md5(g::text), 'hex') from generate_series(1, 20000) g"
    pgbench -q -i -s 5 second >/dev/null 2>&1
    sql postgres -c checkpoint
}

# What must be equal afterwards, one digest a line.
quiet_digests() {
    sql postgres -c "copy (select * from quiet order by id) to stdout" | md5sum
    sql postgres -c "copy (select count(*), sum(id), md5(string_agg(substr(filler, 1, 32), '' order by id)) from big) to stdout"
    sql postgres -c "copy (select md5(string_agg(lo_get(id), ''::bytea order by id)) from pictures) to stdout"
    sql second -c "copy (select * from quiet order by id) to stdout" | md5sum
}

check_pages() {
    local major=$1 data=$2
    "$TOP/tests/integration/manifest_check.py" "$data"
    if [ "$major" -eq 15 ]; then
        as_postgres /usr/lib/postgresql/15/bin/pg_verifybackup -q "$data"
        echo "pg_verifybackup passes"
    elif [ "$major" -le 16 ]; then
        as_postgres /usr/lib/postgresql/15/bin/pg_verifybackup -q -n "$data"
        echo "pg_verifybackup passes"
    fi
}

check_structure() {
    local major=$1
    for database in postgres second; do
        sql "$database" -c "create extension if not exists amcheck" >/dev/null
        if [ "$major" -ge 14 ]; then
            as_postgres env PGHOST="$PGHOST" PGPORT="$PGPORT" /usr/lib/postgresql/15/bin/pg_amcheck --no-password \
                --heapallindexed --parent-check "$database"
        else
            sql "$database" -c "select count(bt_index_parent_check(c.oid, true)) from pg_class c
                join pg_am a on a.oid = c.relam where a.amname = 'btree' and c.relkind = 'i' and c.relpersistence = 'p'" >/dev/null
        fi
        # every page is read: a checksum failure is an error
        sql "$database" -c "select count(*) from pg_class c, lateral pg_relation_size(c.oid) s where c.relkind in ('r', 't', 'm')" >/dev/null
    done
    echo "amcheck is clean"
}

one_version() {
    local major=$1
    step "PostgreSQL $major"
    postgres_init "$major" "$T/source" -k
    postgres_start "$major" "$T/source"
    load_database
    local before
    before=$(quiet_digests)

    daemons_start "$T/source"
    writer_start second
    cat >"$T/backup.yaml" <<X
apiVersion: tidemark/v1
kind: Backup
metadata: {name: full-$major}
spec:
  br: {cluster: test, concurrency: 2, checksum: true}
  local: {path: $T/repo}
X
    expect_out "backup/full-$major created" tidemark apply -f "$T/backup.yaml"
    tidemark wait backup "full-$major" --for=Complete --timeout=180s
    writer_stop
    tidemark get backup "full-$major" -o json >"$T/status.json"
    expect_json "$T/status.json" .status.phase Complete
    expect_json "$T/status.json" '.status.progress | (.rangesDone == .rangesTotal and .rangesTotal > 8)' true

    step "PostgreSQL $major: restore"
    install -d -o postgres -g postgres "$T/restore"
    as_postgres "$BUILD/tidemark-agent" restore --storage "file://$T/repo" --cluster test \
        --data-dir "$T/restore/data" --tablespace-map "$T/space=$T/restore/space" --threads 2
    check_pages "$major" "$T/restore/data"

    daemons_stop
    postgres_stop "$major" "$T/source"
    postgres_start "$major" "$T/restore/data"
    [ "$(quiet_digests)" = "$before" ] || fail "quiet tables differ"
    expect_out 0 sql postgres -c "select count(*) from fleeting"
    expect_out t sql second -c "select (select sum(abalance) from pgbench_accounts) = (select sum(tbalance) from pgbench_tellers)
        and (select sum(bbalance) from pgbench_branches) = (select coalesce(sum(delta), 0) from pgbench_history)
        and (select sum(abalance) from pgbench_accounts) = (select coalesce(sum(delta), 0) from pgbench_history)"
    expect_out 2 sql postgres -c "select timeline_id from pg_control_checkpoint()"
    check_structure "$major"
    postgres_stop "$major" "$T/restore/data"
    if [ "$major" -eq 15 ]; then
        as_postgres /usr/lib/postgresql/15/bin/pg_checksums --check -D "$T/restore/data" >"$T/checksums.log"
        grep -q "Bad checksums:  0" "$T/checksums.log" || fail "$(cat "$T/checksums.log")"
        echo "pg_checksums finds nothing"
    fi
    rm -rf "${T:?}/source" "$T/space" "$T/restore" "$T/repo" "$T/coordinator" "$T/agent"
}

for major in "${@:-${TIDEMARK_TEST_MAJORS:-13 14 15 16 17 18}}"; do
    for one in $major; do one_version "$one"; done
done
