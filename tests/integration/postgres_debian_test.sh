#!/usr/bin/env bash
# A server laid out as Debian does it: configuration in a directory of its own, with conf.d, an external pid file and
# TLS files. Its backup restores to a data directory that starts by itself, and the source's files stay untouched.
. "$(dirname "$0")/../lib/harness.sh"

install -d -o postgres -g postgres "$T/restore" "$T/repo" "$T/etc" "$T/etc/conf.d" "$T/elsewhere"
postgres_init 15 "$T/data" -k
for file in postgresql.conf pg_hba.conf pg_ident.conf; do mv "$T/data/$file" "$T/etc/$file"; done
openssl req -new -x509 -days 2 -nodes -subj /CN=test -keyout "$T/elsewhere/server.key" -out "$T/elsewhere/server.crt" 2>/dev/null
chown postgres: "$T"/elsewhere/* && chmod 600 "$T/elsewhere/server.key"
cat >>"$T/etc/postgresql.conf" <<X
data_directory = '$T/data'
hba_file = '$T/etc/pg_hba.conf'
ident_file = '$T/etc/pg_ident.conf'
external_pid_file = '$T/run/external.pid'
ssl = on
ssl_cert_file = '$T/elsewhere/server.crt'
ssl_key_file = '$T/elsewhere/server.key'
archive_mode = on
archive_command = 'touch $T/run/archived-%f'
synchronous_standby_names = ''
max_prepared_transactions = 11
include_dir = 'conf.d'
include_if_exists = '$T/etc/not-there.conf'
include = '$T/elsewhere/extra.conf'
X
echo "work_mem = '7MB'" >"$T/etc/conf.d/10-memory.conf"
printf "log_rotation_size = 5MB\ninclude 'deeper.conf'\n" >"$T/elsewhere/extra.conf"
echo "maintenance_work_mem = '77MB'" >"$T/elsewhere/deeper.conf"
chown -R postgres: "$T/etc" "$T/elsewhere"
printf '15 %s\n' "$T/data" >"$(mark_of "$T/data")"
as_postgres "$PG15/pg_ctl" -D "$T/etc" -l "$T/run/data.log" -w start >/dev/null
sql postgres -c "create table rows as select generate_series(1, 10000) as id" -c "alter system set log_min_messages = 'notice'"
daemons_start "$T/data"

step "backup"
tidemark backup debian --cluster test --storage "file://$T/repo" >/dev/null
expect_out Complete sh -c "'$BUILD/tidemark' get backup debian -o json | jq -r .status.phase"

step "restored beside its source"
clone_port=$((PGPORT + 1))
restore() { as_postgres "$BUILD/tidemark-agent" restore --storage "file://$T/repo" --cluster test "$@" >/dev/null; }
clone() { "$PG15/psql" -XAtq -h "$T/restore/clone" -p "$clone_port" -d postgres -c "$1"; }
restore --data-dir "$T/restore/plain"
as_postgres "$PG15/pg_verifybackup" -q "$T/restore/plain"
archived_all() { [ "$(sql postgres -c "select count(*) from pg_ls_archive_statusdir() where name like '%.ready'")" = 0 ]; }
wait_for 20 archived_all # of the source: later ones would be the clone's
rm -f "$T"/run/archived-*
restore --data-dir "$T/restore/clone" --start --port "$clone_port"
printf '15 %s\n' "$T/restore/clone" >"$(mark_of "$T/restore/clone")"
expect_out 10000 clone "select count(*) from rows"
expect_out "$T/restore/clone" clone "show data_directory"
expect_out "$T/restore/clone/postgresql.conf" clone "show config_file"
expect_out "$T/restore/clone/pg_hba.conf" clone "show hba_file"
expect_out "" clone "show external_pid_file"
expect_out 7MB clone "show work_mem"
expect_out 77MB clone "show maintenance_work_mem"
expect_out notice clone "show log_min_messages"
expect_out 11 clone "show max_prepared_transactions"
expect_out off clone "show archive_mode"
expect_out on clone "show ssl"
clone "select pg_switch_wal()" >/dev/null
clone "checkpoint" >/dev/null
[ -z "$(ls "$T"/run/archived-* 2>/dev/null)" ] || fail "the clone archived in the name of its source"
[ -e "$T/run/external.pid" ] || fail "the source's pid file is gone"
postgres_stop 15 "$T/restore/clone"
[ -e "$T/run/external.pid" ] || fail "the source's pid file went with the clone"
expect_out 10000 sql postgres -c "select count(*) from rows"

step "restored where the source's files are not"
mv "$T/elsewhere" "$T/gone"
rm -rf "$T/restore/clone"
restore --data-dir "$T/restore/clone" --start --port "$clone_port"
printf '15 %s\n' "$T/restore/clone" >"$(mark_of "$T/restore/clone")"
expect_out off clone "show ssl"
expect_out 77MB clone "show maintenance_work_mem"
expect_out f clone "select pg_is_in_recovery()"
grep -q "tidemark recovery" "$T/restore/clone/postgresql.auto.conf" && fail "recovery settings stayed behind"
postgres_stop 15 "$T/restore/clone"
echo "all ok"
