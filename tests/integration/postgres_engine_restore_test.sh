#!/bin/bash
# The restore side of the PostgreSQL engine against real servers: a low-level backup is made by
# hand (pg_backup_start, copy, pg_backup_stop) and pushed through the restore functions by
# restore_drive_test; pg_verifybackup, the server and a query judge the result.
#
#   postgres_engine_restore_test.sh [MAJOR…]      default: $TIDEMARK_TEST_MAJORS, or 13 15 18; those that can be had
#
# psql, pg_verifybackup and pg_checksums are the distribution's, used where they know the version.
# Runs as any user; as root the servers run as the user postgres.
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
if [ $# -ne 1 ]; then
    status=77
    # shellcheck disable=SC2086
    [ $# -gt 0 ] || set -- ${TIDEMARK_TEST_MAJORS:-13 15 18}
    for major; do
        verdict=0
        "$0" "$major" || verdict=$?
        case $verdict in
        0) [ $status = 1 ] || status=0 ;;
        77) ;;
        *) status=1 ;;
        esac
    done
    exit $status
fi

bindir=$("$top/tests/scripts/get-postgres.sh" "$1" 2>/dev/null) || bindir=
driver=${TIDEMARK_BUILD:-$top/build}/tests/unit/agent/engine/postgres/restore_drive_test
tools=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
[ -x "$bindir/postgres" ] && [ -n "$tools" ] || { echo "skipped: no PostgreSQL $1 here"; exit 77; }
[ -x "$driver" ] || { echo "not built: $driver"; exit 1; }
psql=$tools/psql
driver=$(realpath "$driver")
major=$1
tools_major=$("$tools/postgres" --version | sed 's/.*) \([0-9]*\).*/\1/')

work=$(mktemp -d /tmp/tm-pgrestore.XXXXXX)
chmod 755 "$work"
as=()
if [ "$(id -u)" = 0 ]; then
    as=(setpriv --reuid=postgres --regid=postgres --init-groups --)
    chown postgres "$work"
fi
run() { (cd "$work" && env -u PGDATA -u PGPORT "${as[@]}" "$@"); }
ctl() { run "$bindir/pg_ctl" "$@" >/dev/null; }
cleanup() {
    for d in "$work"/*/; do
        [ -f "$d/postmaster.pid" ] && ctl -D "$d" -m immediate stop || true
    done
    rm -rf "$work"
}
trap cleanup EXIT
port=$((20000 + RANDOM % 20000))
clone_port=$((port + 1))
sql() { run "$psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$work" -p "$port" -U postgres -d postgres "$@"; }
clone_sql() { run "$psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$1" -p "$clone_port" -U postgres -d postgres -c "$2"; }
ok() { echo "ok: $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
must_say() { # TEXT COMMAND…: fails, with TEXT in its message
    local want=$1 out; shift
    if out=$("$@" 2>&1); then fail "'$*' succeeded, expected: $want"; fi
    case $out in *"$want"*) ok "refused: $out" ;; *) fail "expected '$want', got: $out" ;; esac
}

echo "== PostgreSQL $major"
checksums=--data-checksums
run "$bindir/initdb" -D "$work/source" -U postgres -A trust -E UTF8 --locale=C "$checksums" >/dev/null
run mkdir "$work/space" "$work/conf.d"
cat >>"$work/source/postgresql.conf" <<CONF
port = $port
unix_socket_directories = '$work'
listen_addresses = ''
fsync = off
wal_keep_size = 2GB
wal_level = logical
max_prepared_transactions = 7
archive_mode = on
archive_command = 'true'
synchronous_commit = local
synchronous_standby_names = 'nobody'
external_pid_file = '$work/source.pid'
CONF
ctl -D "$work/source" -w -l "$work/source.log" start
sql <<SQL
create tablespace space location '$work/space';
create table big as select g as id, repeat(md5(g::text), 8) as text from generate_series(1, 60000) g;
create index on big (id);
create table far (id int) tablespace space;
insert into far select generate_series(1, 1000);
create unlogged table light as select 1 as one;
create database other;
SQL

start_sql="pg_backup_start('test', true)"
stop_sql="pg_backup_stop(false)"
if [ "$major" -lt 15 ]; then
    start_sql="pg_start_backup('test', true, false)"
    stop_sql="pg_stop_backup(false, false)"
fi
backup() { # NAME [SQL after the copy]
    local name=$1
    {
        echo "select $start_sql;"
        echo "\\! cp -a $work/source $work/$name"
        echo "${2:-insert into far select generate_series(1001, 2000);}"
        echo "checkpoint;"
        # pg_control comes last
        echo "\\! cp -a $work/source/global/pg_control $work/$name/global/pg_control"
        echo "\\t on"
        echo "select labelfile from $stop_sql as s(lsn, labelfile, spcmapfile) \\g $work/$name.label0"
        echo "select pg_current_wal_lsn() \\g $work/$name.lsn"
        echo "select pg_switch_wal();"
    } | sql >/dev/null
    run sed -e '/^$/d' "$work/$name.label0" | run tee "$work/$name.label" >/dev/null
    run rm -rf "$work/$name/pg_wal" "$work/$name/postmaster.pid" "$work/$name/postmaster.opts"
    run cp -a "$work/source/pg_wal" "$work/$name/pg_wal"
}
run_driver() { # as this user, or as root
    env -u PGDATA -u PGPORT "$driver" "$@"
}
backup_stop() { tr -d '[:space:]' <"$work/$1.lsn"; }
restore() { # NAME TARGET args…
    local name=$1 target=$2; shift 2
    run_driver --source "$work/$name" --label "$work/$name.label" --stop "$(backup_stop "$name")" \
        --target "$target" --part 300000 "$@"
}
verify() {
    if [ "$tools_major" -ge "$major" ] && [ "$major" -le 16 ]; then
        # the log is checked by a pg_waldump of the same version only
        local nowal=
        [ "$tools_major" = "$major" ] || nowal=-n
        run "$tools/pg_verifybackup" $nowal "$1" || fail "pg_verifybackup of $1"
        ok "pg_verifybackup"
    fi
}

backup one

# ---- the log reader counts what pg_waldump counts --------------------------------------------------
if [ "$tools_major" = "$major" ]; then
    run "$tools/pgbench" -q -i -s 2 -h "$work" -p "$port" -U postgres postgres >/dev/null 2>&1
    run "$tools/pgbench" -c 2 -t 300 -h "$work" -p "$port" -U postgres postgres >/dev/null 2>&1
    sql -c "select pg_logical_emit_message(false, 'x', repeat('y', 3000000))" -c "create sequence s" >/dev/null
    last=$(sql -c "select pg_walfile_name(pg_switch_wal())")
    wal=$(cd "$work/source/pg_wal" && find . -type f -printf '%f\n' | grep -E '^[0-9A-F]{24}$' | sort | awk -v last="$last" '$0 <= last')
    first=${wal%%$'\n'*}
    from=$(printf '%X/%X' "0x${first:8:8}" "$((0x${first:16:8} * 16777216))")
    # waldump prints a line per resource manager, in order of their numbers
    "$tools/pg_waldump" --stats -p "$work/source/pg_wal" "$first" "$last" 2>/dev/null |
        awk '$2 ~ /^[0-9]+$/ && $1 != "Total" {if ($2 > 0) print n, $2; n++}' | sed 's/^ /0 /' | run tee "$work/waldump" >/dev/null
    # shellcheck disable=SC2046 # one word a file
    "${driver%/*}/wal_count_test" "$major" 16777216 "$from" $(printf "$work/source/pg_wal/%s " $wal) | run tee "$work/counted" >/dev/null
    awk '$1 == "rmgr" {print $2, $3}' "$work/counted" | diff - "$work/waldump" || fail "counts differ from pg_waldump's"
    ok "as many records as pg_waldump finds: $(awk '{n += $2} END {print n}' "$work/waldump")"
fi

# ---- refusals -----------------------------------------------------------------------------------
must_say "is running on" restore one "$work/source" --map "$work/space=$work/new-space"
must_say "is running on" restore one "$work/source" --delta --map "$work/space=$work/new-space"
must_say "exists on this host" restore one "$work/t0"
must_say "not below one of the agent's restore_roots" restore one "$work/t0" --root /srv/none
must_say "a data directory this agent backs up" restore one "$work/t0" --live "$work/t0/inner"
must_say "the backup has no tablespace there" restore one "$work/t0" --map "/no/where=$work/x"
must_say "overlap" restore one "$work/t0" --map "$work/space=$work/t0/space"
must_say "must be an absolute path" restore one "t0"
[ ! -e "$work/t0" ] || fail "a refused restore wrote something"
ok "refusals write nothing"

# ---- restore, verify, start ----------------------------------------------------------------------
map=(--map "$work/space=$work/new-space")
restore one "$work/t1" "${map[@]}" --root "$work" --port "$clone_port" --option shared_buffers=16MB \
    --option "tidemark.bindir=$bindir" --start >/dev/null
[ "$(clone_sql "$work/t1" 'select count(*) from big')" = 60000 ] || fail "rows of big"
[ "$(clone_sql "$work/t1" 'select count(*) from far')" = 2000 ] || fail "rows of far"
[ "$(clone_sql "$work/t1" 'select timeline_id from pg_control_checkpoint()')" = 2 ] || fail "timeline"
[ "$(clone_sql "$work/t1" 'show archive_mode')" = off ] || fail "archive_mode"
[ "$(clone_sql "$work/t1" 'show synchronous_standby_names')" = "" ] || fail "synchronous_standby_names"
[ "$(clone_sql "$work/t1" 'show shared_buffers')" = 16MB ] || fail "shared_buffers"
[ "$(readlink "$work"/t1/pg_tblspc/*)" = "$work/new-space" ] || fail "tablespace link"
clone_sql "$work/t1" 'drop table far' >/dev/null
[ "$(sql -c 'select count(*) from far')" = 2000 ] || fail "the source lost rows"
grep -q 'recovery begin' "$work/t1/postgresql.auto.conf" && fail "recovery settings stayed behind"
[ ! -e "$work/t1/recovery.signal" ] || fail "recovery.signal stayed behind"
ctl -D "$work/t1" -m fast -w stop
"$tools/pg_checksums" --version >/dev/null 2>&1 && [ "$tools_major" = "$major" ] &&
    { run "$tools/pg_checksums" --check "$work/t1" >/dev/null || fail "pg_checksums"; ok "pg_checksums"; }
ok "restored, started, queried, on a new timeline"

run rm -rf "$work/new-space"
restore one "$work/t2" "${map[@]}"
verify "$work/t2"
[ "$(stat -c %a "$work/t2")" = 700 ] || fail "mode of the data directory"
[ ! -e "$work/t2/tablespace_map" ] || fail "tablespace_map was kept"

# ---- delta --------------------------------------------------------------------------------------
must_say "is not empty" restore one "$work/t2" "${map[@]}"
echo junk | run tee "$work/t2/base/junk" >/dev/null
echo junk | run tee "$work/new-space/PG_${major}_junk" >/dev/null
dd if=/dev/zero bs=8192 count=4 status=none | run tee -a "$work/t2/global/pg_filenode.map" >/dev/null
run mkdir -p "$work/t2/extra/dir"
run rm "$work/t2/base/1/PG_VERSION"
restore one "$work/t2" "${map[@]}" --delta
[ ! -e "$work/t2/base/junk" ] && [ ! -e "$work/t2/extra" ] || fail "delta left foreign files"
run rm "$work/new-space/PG_${major}_junk" || fail "delta touched what is not its own"
verify "$work/t2"
ok "delta"

# ---- log that creates a tablespace on the source's host -----------------------------------------
run mkdir "$work/late"
backup two "create tablespace late location '$work/late'; create table later (id int) tablespace late;"
run rm -rf "$work/new-space"
must_say "replay could destroy it" restore two "$work/t3" "${map[@]}"
[ ! -e "$work/t3" ] || fail "the log was looked at too late"

# ---- configuration outside the data directory ---------------------------------------------------
sql -c "drop table later" -c "drop tablespace late" -c "checkpoint" >/dev/null
# where that path is free, the log may make its tablespace, inside the roots only
run rmdir "$work/late"
must_say "is not below one of the agent's restore_roots" restore two "$work/t3" "${map[@]}" \
    --root "$work/t3" --root "$work/new-space"
restore two "$work/t3" "${map[@]}" --root "$work" --port "$clone_port" --option "tidemark.bindir=$bindir" --start >/dev/null
[ "$(clone_sql "$work/t3" "select spcname from pg_class c join pg_tablespace t on t.oid = reltablespace where relname = 'later'")" = late ] ||
    fail "the tablespace that the log creates"
clone_sql "$work/t3" 'insert into later values (1)'
ctl -D "$work/t3" -m fast -w stop
ok "log that creates a tablespace, on another host"
run mkdir -p "$work/etc/conf.d"
run cp "$work/source/pg_hba.conf" "$work/etc/pg_hba.conf"
run sed -e "s|^#*data_directory.*|data_directory = '$work/source'|" \
    -e "s|^#*hba_file.*|hba_file = '$work/etc/pg_hba.conf'|" \
    -e "s|^#*ident_file.*|ident_file = '$work/etc/pg_ident.conf'|" "$work/source/postgresql.conf" |
    run tee "$work/etc/postgresql.conf" >/dev/null
echo "include_dir 'conf.d'" | run tee -a "$work/etc/postgresql.conf" >/dev/null
echo "include_if_exists '/no/such/file'" | run tee -a "$work/etc/postgresql.conf" >/dev/null
echo "work_mem = '7MB'" | run tee "$work/etc/conf.d/own.conf" >/dev/null
backup three
run rm -f "$work/three/postgresql.conf" "$work/three/pg_hba.conf" "$work/three/pg_ident.conf"
run rm -rf "$work/new-space"
restore three "$work/t4" "${map[@]}" --config "$work/etc/postgresql.conf:config_file" \
    --config "$work/etc/pg_hba.conf:hba_file" --config "$work/etc/conf.d/own.conf:include"
verify "$work/t4"
run rm -rf "$work/t4" "$work/new-space"
restore three "$work/t4" "${map[@]}" --config "$work/etc/postgresql.conf:config_file" \
    --config "$work/etc/pg_hba.conf:hba_file" --config "$work/etc/conf.d/own.conf:include" \
    --port "$clone_port" --option "tidemark.bindir=$bindir" --start >/dev/null
[ "$(clone_sql "$work/t4" 'show data_directory')" = "$work/t4" ] || fail "data_directory"
[ "$(clone_sql "$work/t4" 'show hba_file')" = "$work/t4/pg_hba.conf" ] || fail "hba_file"
[ "$(clone_sql "$work/t4" 'show work_mem')" = 7MB ] || fail "include_dir"
ctl -D "$work/t4" -m fast -w stop
ok "configuration from outside the data directory"

# ---- a server that cannot start says why ---------------------------------------------------------
run rm -rf "$work/new-space"
must_say "no_such_library" restore three "$work/t5" "${map[@]}" --port "$clone_port" \
    --option "tidemark.bindir=$bindir" --option shared_preload_libraries=no_such_library --start
[ ! -e "$work/t5/postmaster.pid" ] || fail "the failed server still runs"

echo "all ok: PostgreSQL $major"
