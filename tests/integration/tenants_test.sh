#!/usr/bin/env bash
# A cluster of two tenants, two servers behind one agent: what names no tenant is done for both, side by side, and what
# happens to one is its own.
. "$(dirname "$0")/../lib/harness.sh"
. "$(dirname "$0")/../lib/lost_state.sh"

OTHER=$((PGPORT + 1)) # second's port; what is restored runs on the next ones
other() { PGPORT=$OTHER "$@"; }
server_make() { # TENANT ROWS
    postgres_init 15 "$T/$1" -k
    echo "port = $PGPORT" >>"$T/$1/postgresql.conf"
    postgres_start 15 "$T/$1"
    sql postgres -c "create table kept as select g as id, md5(g::text) || repeat('x', 200) as t from generate_series(1, $2) g" \
        -c checkpoint
}
install -d -o postgres -g postgres "$T/restore" "$T/repo"
server_make main 50000
other server_make second 60000

digest_at() { PGPORT=$1 sql postgres -c "select count(*) || md5(string_agg(t, '' order by id)) from kept"; }
MAIN=$(digest_at "$PGPORT")
SECOND=$(digest_at "$OTHER")

second_too() { # the agent has this instance, too
    sed -i "/^restore_roots/i\\  - tenant: second\\n    engine: postgres\\n    data_dir: $T/second\\n    conninfo: \"host=$T/run port=$OTHER user=postgres dbname=postgres\"" "$T/agent.yaml"
}
are_there() { [ "$(tidemark nodes | grep -c primary)" = "$1" ]; }
daemons_start "$T/main"

of() { tidemark get backup "$1" -o json | jq -r "$2"; }
tenant_of() { of "$1" ".status.tenants[] | select(.tenant == \"$2\") | $3"; }
restored() { # NAME BACKUP TENANT PORT
    tidemark restore "$1" --backup "$2" --tenant "$3" --node db-a --data-dir "$T/restore/$1" --start --port "$4" \
        --server-option unix_socket_directories="$T/run" ${TO:-} >"$T/$1.out"
    printf '15 %s\n' "$T/restore/$1" >"$(mark_of "$T/restore/$1")"
    digest_at "$4"
}
apply() { # NAME RATE [MORE YAML LINES…]
    local name=$1 rate=$2
    shift 2
    {
        printf 'apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: %s}\nspec:\n  local: {path: %s}\n' "$name" "$T/repo"
        printf '  %s\n' "br: {cluster: test, rateLimit: $rate}" "rangeSize: 1MiB" "$@"
    } >"$T/$name-spec.yaml"
    expect_out "backup/$name created" tidemark apply -f "$T/$name-spec.yaml"
}

step "a log backup of the only tenant; the second that comes later joins, and the first notices nothing"
tidemark log start wal --cluster test --storage "file://$T/repo" --flush-interval 1s >"$T/start.out"
expect_out "main 0" of wal '.status | .tenant + " " + (.tenants | length | tostring)'
agent_kill TERM
second_too
agent_start
wait_for 20 are_there 2
tidemark wait backup wal --for=Running --timeout=60s
both_run() { [ "$(of wal '[.status.tenants[]? | .tenant + " " + .phase] | join(", ")')" = "main Running, second Running" ]; }
wait_for 30 both_run
grep -q "Backup/wal: cluster 'test' has a tenant 'second' now, its log is backed up, too" "$T/coordinator.log" || fail "it is not said"
expect_out 1 sh -c "ls -d '$T'/repo/test/main/*/log/* | grep -vc /index" # lineages

step "one backup of both, at the same time"
tidemark backup both --cluster test --storage "file://$T/repo" >"$T/both.out"
tidemark get backup both -o json >"$T/both.json"
expect_json "$T/both.json" '.status.phase' Complete
expect_json "$T/both.json" '[.status.tenants[] | .tenant + " " + .phase] | join(", ")' "main Complete, second Complete"
expect_json "$T/both.json" '.status.backupSize == ([.status.tenants[].backupSize] | add)' true
expect_json "$T/both.json" '.status.commitTs == ([.status.tenants[].commitTs] | min)' true
expect_json "$T/both.json" '.status.progress.rangesDone == ([.status.tenants[].progress.rangesTotal] | add)' true
expect_json "$T/both.json" '([.status.tenants[].timeStarted] | max) < ([.status.tenants[].timeCompleted] | min)' true
expect_json "$T/both.json" '.status.backupPath' "file://$T/repo/test"
tidemark describe backup both >"$T/described"
grep -A1 -x Tenants: "$T/described" | grep -q "^  main: Complete, as of 20.*Z, .* in file://$T/repo/test/main/" || fail "$(cat "$T/described")"
tidemark get backup -o wide >"$T/wide"
grep -q "^both@second  *full  *snapshot  *Complete  *file://$T/repo/test/second/" "$T/wide" || fail "$(cat "$T/wide")"
expect_out 1 sh -c "'$BUILD/tidemark' get backup | grep -c both"
expect_fail 3 "backup/both@main: not found" tidemark get backup both@main

step "a restore says which; both are what they were"
expect_fail 2 "tidemark: Restore/x: backup 'both' is of several tenants: name one of them in br.tenant (--tenant): main, second" \
    tidemark restore x --backup both --node db-a --data-dir "$T/restore/x"
expect_out "$MAIN" restored r-main both main $((PGPORT + 2))
expect_out "$SECOND" restored r-second both second $((PGPORT + 3))
postgres_stop 15 "$T/restore/r-main" immediate
postgres_stop 15 "$T/restore/r-second" immediate

step "the log of both: the least is told, and each is restored to a moment of its own"
other sql postgres -c "insert into kept select g, 'late' from generate_series(60001, 60100) g"
SECOND_LATE=$(digest_at "$OTHER")
mark=$(date -u +%Y-%m-%dT%H:%M:%S.%6NZ)
is_safe() { [[ $(of wal '.status.logCheckpointTs // empty') > $mark ]]; }
wait_for 30 is_safe
both_recoverable() { [ "$(of wal '[.status.recoverable[] | select(.abandoned | not) | .tenant] | unique | join(" ")')" = "main second" ]; }
wait_for 60 both_recoverable # storage is looked at now and then
tidemark get backup wal -o json >"$T/wal.json"
expect_json "$T/wal.json" '.status.phase' Running
expect_json "$T/wal.json" '.status.logCheckpointTs == ([.status.tenants[].logCheckpointTs] | min)' true
tidemark log status >"$T/status"
grep -q "^wal  *test  *second  *Running" "$T/status" || fail "$(cat "$T/status")"
grep -q "^cluster test: safe until .*(the least of 2 tenants)" "$T/status" || fail "$(cat "$T/status")"
expect_fail 2 "backup 'wal' is of several tenants: name one of them in br.tenant (--tenant): main, second" tidemark log search wal
tidemark log search wal --tenant second -o json | jq -e '.events | length > 0 and all(.tenant == "second")' >/dev/null || fail "no events of second"
TO="--to $mark" expect_out "$SECOND_LATE" restored p-second wal second $((PGPORT + 3))
postgres_stop 15 "$T/restore/p-second" immediate

step "one server goes away in the middle, and the coordinator with -9: the job is Failed for that one alone"
apply broken 3 "cleanPolicy: Delete"
is_at_work() { [ "$(tenant_of broken "$1" .progress.rangesDone)" -ge 2 ]; }
is_checkpointed() {
    local id
    id=$(tenant_of broken second .backupId)
    [ "$("$TOP/tests/integration/format_reader.py" --checkpointed "$T"/repo/test/second/*/backup/"$id" | wc -l)" -ge 2 ]
}
wait_for 30 is_at_work main
wait_for 30 is_checkpointed
coordinator_kill KILL
other postgres_stop 15 "$T/second" immediate
coordinator_start
expect_fail 1 "tenant 'second'" tidemark wait backup broken --for=Complete --timeout=120s
tidemark get backup broken -o json >"$T/broken.json"
expect_json "$T/broken.json" '[.status.tenants[] | .tenant + " " + .phase] | join(", ")' "main Complete, second Failed"
expect_json "$T/broken.json" '.status | .phase + " " + (.conditions[] | select(.type == "Failed") | .reason)' "Failed Resumable"
expect_json "$T/broken.json" '.status.lastError | .node + ": " + .message | startswith("db-a: tenant '"'second'"': ")' true
expect_json "$T/broken.json" '.status | has("commitTs")' false
grep -q "Backup/broken Failed: tenant 'second' on node 'db-a': " "$T/coordinator.log" || fail "$(cat "$T/coordinator.log")"
expect_out "$MAIN" restored r-good broken main $((PGPORT + 2))
postgres_stop 15 "$T/restore/r-good" immediate

step "resumed, only that one goes on"
first=$(tenant_of broken main .backupId)
other postgres_start 15 "$T/second"
wait_for 20 are_there 2
tidemark backup resume broken >"$T/resumed.out"
expect_out "Complete 1 $first" tenant_of broken main '.phase + " " + (.attempt | tostring) + " " + .backupId'
expect_out "Complete 2" tenant_of broken second '.phase + " " + (.attempt | tostring)'
expect_out "true" tenant_of broken second '.progress.rangesResumed >= 1'
expect_out "$SECOND_LATE" restored r-later broken second $((PGPORT + 3))
postgres_stop 15 "$T/restore/r-later" immediate

step "the coordinator's state is lost: the same list with the same tenants, and the log of both goes on"
is_calm() { [ "$(of wal '.status.lastError')" = null ]; }
wait_for 60 is_calm
wait_for 30 nothing_waits
list >"$T/before.json"
expect_json "$T/before.json" '[.[] | .metadata.name + " " + (.status.tenants | length | tostring)] | join(", ")' "both 2, broken 2, wal 2"
runners=$(runner_pids)
lose_state
coordinator_start
wait_for 20 are_there 2
tidemark rebuild --storage "file://$T/repo" >"$T/rebuilt"
grep -qx "3 restored: 2 complete, 1 log backups, 0 failed, 0 running, 0 being deleted; 0 were known" "$T/rebuilt" || fail "$(cat "$T/rebuilt")"
same_list "$T/before.json"
expect_out "$runners" runner_pids
coordinator_kill TERM # what was made can be loaded
coordinator_start
wait_for 20 are_there 2
same_list "$T/before.json"
tidemark rebuild confirm
wait_for 30 both_run

step "deleted, both are gone, and nothing else is"
stored() { find "$T/repo/test" -path "*/backup/*" -name "manifest.mpk" | wc -l; }
expect_out 4 stored
tidemark delete backup broken --grace 0
gone() { ! tidemark get backup broken; }
wait_for 30 gone
expect_out 2 stored
expect_out Complete of both .status.phase

step "paused, resumed, stopped and deleted: all of it"
tidemark log pause wal >"$T/pause.out"
expect_out "Pause: Pause Pause" of wal '.status | .phase + ": " + ([.tenants[].phase] | join(" "))'
tidemark log resume wal >"$T/resume.out"
expect_out "Running: Running Running" of wal '.status | .phase + ": " + ([.tenants[].phase] | join(" "))'
tidemark log stop wal >"$T/stop.out"
expect_out "Stopped: Stopped Stopped" of wal '.status | .phase + ": " + ([.tenants[].phase] | join(" "))'
expect_out 0 sql postgres -c "select count(*) from pg_replication_slots"
expect_out 0 other sql postgres -c "select count(*) from pg_replication_slots"
tidemark delete backup wal
expect_fail 3 "backup/wal: not found" tidemark get backup wal
