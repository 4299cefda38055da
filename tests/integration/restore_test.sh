#!/usr/bin/env bash
# Restore through the coordinator and without it: start, delta, tablespaces, refusals that protect a source.
TIDEMARK_TEST_DIR=/var/tmp # on a disk, whatever others do
. "$(dirname "$0")/../lib/harness.sh"

install -d -o postgres -g postgres "$T/restore" "$T/repo" "$T/space"
postgres_init 15 "$T/source" -k
postgres_start 15 "$T/source"
sql postgres -c "create tablespace space location '$T/space'"
sql postgres -c "create table quiet (id int primary key, t text) tablespace space" \
    -c "insert into quiet select g, md5(g::text) from generate_series(1, 50000) g"
pgbench -i -q -s 10 postgres >/dev/null 2>&1
sql postgres -c checkpoint
digest() { psql_at "$1" -c "copy (select * from quiet order by id) to stdout" | md5sum; }
psql_at() { local at=$1; shift; "$PG15/psql" -XAtq -h "${at%:*}" -p "${at#*:}" -d postgres "$@"; }
want=$(digest "$PGHOST:$PGPORT")

daemons_start "$T/source"
step "the CLI's own commands: backup, get, describe, top, nodes"
tidemark backup first --cluster test --storage "file://$T/repo" >"$T/cli.out"
expect_out Complete sh -c "'$BUILD/tidemark' get backup first -o json | jq -r .status.phase"
tidemark get backup | finds '^NAME  *TYPE  *MODE  *STATUS  *BACKUPPATH  *COMMITTS' || fail "$(tidemark get backup)"
tidemark get bk first -o yaml | finds '^kind: Backup' || fail "$(tidemark get bk first -o yaml)"
tidemark describe backup first >"$T/described"
grep -A1 -x Warnings: "$T/described" | finds "^  max_slot_wal_keep_size is -1: " || fail "$(cat "$T/described")"
[ "$(grep -c "<4>.*job 'first': max_slot_wal_keep_size is -1" "$T/agent.log")" = 1 ] || fail "not once in the agent's log"
tidemark top >/dev/null
tidemark get backup first -o json >"$T/first.json"
expect_json "$T/first.json" '.apiVersion + " " + .kind + " " + .metadata.name' "tidemark/v1 Backup first"
expect_json "$T/first.json" '.status.commitTs | test("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\\.[0-9]{6}Z$")' true
expect_json "$T/first.json" '.status | has("backupPath") and has("backupSize") and has("position") and has("timeStarted") and has("timeCompleted")' true
expect_out "backup/first unchanged" sh -c "'$BUILD/tidemark' get backup first -o yaml >'$T/again.yaml' && '$BUILD/tidemark' apply -f '$T/again.yaml'"

step "kind Restore, started on its own port beside its living source"
cat >"$T/restore.yaml" <<X
apiVersion: tidemark/v1
kind: Restore
metadata: {name: clone}
spec:
  br: {cluster: test}
  backup: first
  dataDir: $T/restore/clone
  tablespaceMap: {$T/space: $T/restore/clone-space}
  start: true
  port: $((PGPORT + 1))
  serverOptions: {unix_socket_directories: $T/run}
X
expect_out "restore/clone created" tidemark apply -f "$T/restore.yaml"
tidemark wait restore clone --for=Complete --timeout=120s
[ "$(digest "$PGHOST:$((PGPORT + 1))")" = "$want" ] || fail "the clone differs"
expect_out 2 psql_at "$PGHOST:$((PGPORT + 1))" -c "select timeline_id from pg_control_checkpoint()"
expect_out "off" psql_at "$PGHOST:$((PGPORT + 1))" -c "show archive_mode"
printf '15 %s\n' "$T/restore/clone" >"$(mark_of "$T/restore/clone")"

step "kill -9 of the restore's runner, twice in the middle: started again, complete, nothing startable before"
sed -e "s/name: clone/name: killed/; s|restore/clone|restore/killed|g; /start:\|port:\|serverOptions:/d; s/cluster: test/&, rateLimit: 40/" \
    "$T/restore.yaml" >"$T/killed.yaml"
expect_out "restore/killed created" tidemark apply -f "$T/killed.yaml"
is_written() { [ "$(du -sm "$T/restore/killed" | cut -f 1)" -ge "$1" ]; }
for mib in 20 40; do
    wait_for 30 is_written $mib
    runner_pids | xargs -r kill -9
    [ ! -e "$T/restore/killed/global/pg_control" ] || fail "startable in the middle"
    is_over() { ! pgrep -P "$AGENT_PID"; }
    wait_for 10 is_over
done
as_postgres touch "$T/restore/killed/base/1/99999" # such as a killed runner may leave
tidemark wait restore killed --for=Complete --timeout=120s
[ "$(grep -c "<4>.*runner [0-9] of job 'killed' was killed by signal 9" "$T/agent.log")" = 2 ] || fail "$(grep killed "$T/agent.log")"
"$TOP/tests/integration/manifest_check.py" "$T/restore/killed"
as_postgres "$PG15/pg_verifybackup" -q "$T/restore/killed"
cp -p "$T/killed.yaml" "$T/over.yaml"
sed -i 's/name: killed/name: over/' "$T/over.yaml" # the same target by another job
tidemark apply -f "$T/over.yaml" >/dev/null
tidemark wait restore over --for=Failed --timeout=60s
case $(tidemark get restore over -o json | jq -r .status.lastError.message) in
*"restore/killed' is not empty"*) ;;
*) fail "$(tidemark get restore over -o json)" ;;
esac

step "a restore never touches a live directory"
for dir in "$T/restore/clone" "$T/source"; do
    expect_fail 1 "" as_postgres "$BUILD/tidemark-agent" restore --storage "file://$T/repo" --cluster test \
        --data-dir "$dir" --delta --tablespace-map "$T/space=$T/restore/clone-space"
done
[ "$(digest "$PGHOST:$PGPORT")" = "$want" ] || fail "the source was harmed"

step "the source's own tablespace is never written to"
expect_fail 1 "$T/space" as_postgres "$BUILD/tidemark-agent" restore --storage "file://$T/repo" --cluster test --data-dir "$T/restore/unmapped"
[ ! -e "$T/restore/unmapped/global/pg_control" ] || fail "startable"

step "delta rewrites what differs and removes what does not belong"
postgres_stop 15 "$T/restore/clone"
rm -rf "$T/restore/delta" "$T/restore/delta-space"
restore_delta() {
    as_postgres "$BUILD/tidemark-agent" restore --storage "file://$T/repo" --cluster test --data-dir "$T/restore/delta" \
        --tablespace-map "$T/space=$T/restore/delta-space" "$@"
}
restore_delta
file=$(find "$T/restore/delta/base" -type f -size +1M | sort | sed -n 1p)
printf 'damage' | dd of="$file" bs=1 seek=300000 conv=notrunc status=none
truncate -s 8192 "$(find "$T/restore/delta/base" -type f -size +500k | sort | tail -1)"
as_postgres touch "$T/restore/delta/base/1/99999"
restore_delta --delta
"$TOP/tests/integration/manifest_check.py" "$T/restore/delta"
as_postgres "$PG15/pg_verifybackup" -q "$T/restore/delta"
postgres_stop 15 "$T/source"
postgres_start 15 "$T/restore/delta"
[ "$(digest "$PGHOST:$PGPORT")" = "$want" ] || fail "the delta restore differs"
postgres_stop 15 "$T/restore/delta"
postgres_start 15 "$T/source"

step "tablespace created while the backup ran: replay would link the source's own directory"
install -d -o postgres -g postgres "$T/late"
wait_for 30 node_is primary
sql postgres -c "alter system set max_slot_wal_keep_size = '4GB'" -c "select pg_reload_conf()" >/dev/null
cat >"$T/late.yaml" <<X
apiVersion: tidemark/v1
kind: Backup
metadata: {name: late}
spec:
  br: {cluster: test, rateLimit: 30}
  local: {path: $T/repo}
X
tidemark apply -f "$T/late.yaml"
late_runs() { tidemark get backup late -o json | jq -e '.status.phase == "Running" and .status.progress.rangesDone >= 1'; }
wait_for 60 late_runs
runner=$(runner_pids)
kill -STOP $runner # not over before it has happened
sql postgres -c "create tablespace late location '$T/late'"
sql postgres -c "create table precious (id int) tablespace late" -c "insert into precious select generate_series(1, 1000)"
kill -CONT $runner
tidemark wait backup late --for=Complete --timeout=120s
expect_out null sh -c "'$BUILD/tidemark' get backup late -o json | jq -c .status.warnings"
id=$(basename "$(tidemark get backup late -o json | jq -r .status.backupPath)")
expect_fail 1 "$T/late" as_postgres "$BUILD/tidemark-agent" restore --storage "file://$T/repo" --cluster test --backup "$id" \
    --data-dir "$T/restore/late" --tablespace-map "$T/space=$T/restore/late-space"
expect_out 1000 sql postgres -c "select count(*) from precious"

step "list, verify, delete"
as_postgres "$BUILD/tidemark-agent" list --storage "file://$T/repo" | finds "$id" || fail "list does not show $id"
as_postgres "$BUILD/tidemark-agent" verify --storage "file://$T/repo"
sed -e 's/name: late/name: gone/' -e 's|  local:|  cleanPolicy: Delete\n  local:|' -e 's/, rateLimit: 30//' "$T/late.yaml" >"$T/gone.yaml"
tidemark apply -f "$T/gone.yaml"
tidemark wait backup gone --for=Complete --timeout=120s
id=$(basename "$(tidemark get backup gone -o json | jq -r .status.backupPath)")
tidemark delete backup gone --grace 0
gone() { ! tidemark get backup gone && [ "$(find "$T/repo" -path "*$id*" -type f ! -name deleted.mpk | wc -l)" = 0 ]; }
wait_for 60 gone
[ -z "$(find "$T/repo" -type d -empty)" ] || fail "empty directories: $(find "$T/repo" -type d -empty)"
if as_postgres "$BUILD/tidemark-agent" list --storage "file://$T/repo" -o json | jq -e --arg id "$id" '[.. | strings] | any(. == $id)' >/dev/null; then
    as_postgres "$BUILD/tidemark-agent" list --storage "file://$T/repo" -o json | jq -e --arg id "$id" '[.. | objects | select((.id? // .backup?) == $id) | .state] | all(. == "deleted" or . == "Deleted")' >/dev/null ||
        fail "a deleted backup is listed as usable"
fi
tidemark delete backup first
[ -n "$(find "$T/repo" -name manifest.mpk | head -1)" ] || fail "cleanPolicy Retain must keep the data"
daemons_stop
