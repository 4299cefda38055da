#!/usr/bin/env bash
# A deleted backup is gone for everybody at once, and its objects stay for a grace time: who reads them by storage alone
# goes on. Nothing of it depends on a process that lives: daemons and runners are killed at any moment. ROUNDS of that.
. "$(dirname "$0")/../lib/harness.sh"

ROUNDS=${1:-4}

apply() { # NAME [LINE of the spec…]
    local name=$1
    shift
    {
        printf 'apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: %s}\nspec:\n  br: {cluster: test, concurrency: 2}\n' "$name"
        printf '  cleanPolicy: Delete\n  local: {path: %s}\n' "$T/repo"
        [ $# = 0 ] || printf '  %s\n' "$@"
    } >"$T/$name.yaml"
    expect_out "backup/$name created" tidemark apply -f "$T/$name.yaml"
    tidemark wait backup "$name" --for=Complete --timeout=120s
}
status() { tidemark get backup "$1" -o json | jq -r "$2"; }
path_of() { local path; path=$(status "$1" .status.backupPath) && echo "${path#file://}"; }
objects() { find "$1" -type f ! -name deleted.mpk | wc -l; } # PATH of a backup
gone() { ! tidemark get backup "$1"; }
waits() { [ "$(status "$1" '.status.timeRemoval // ""')" != "" ]; }
alone() { as_postgres "$BUILD/tidemark-agent" "$@" --storage "file://$T/repo" --cluster test; }

# A restore by storage alone that is in the middle, and stands still there.
restore_begin() { # BACKUP-ID DIR
    spawn "$T/restore.log" "$BUILD/tidemark-agent" restore -q --storage "file://$T/repo" --cluster test --backup "$1" --data-dir "$2" --rate-limit 8
    RESTORE_PID=$SPAWNED
    is_written() { [ "$(du -sm "$1" | cut -f 1)" -ge 4 ]; }
    wait_for 30 is_written "$2"
    kill -STOP "$RESTORE_PID"
    [ ! -e "$2/STARTABLE" ] || fail "the restore is over already"
}

install -d -o postgres -g postgres "$T/repo" "$T/restore"
coordinator_start
agent_config "$T/data"
sed -i 's/engine: postgres/engine: "null"/; s|conninfo:.*|conninfo: "files=400 bytes=100000 log=300000"|' "$T/agent.yaml"
agent_start
wait_for 20 node_is primary

step "deleted while a restore by storage alone reads it: nobody else finds it, the restore succeeds"
apply full
path=$(path_of full)
id=$(basename "$path")
there=$(objects "$path")
alone restore -q --data-dir "$T/restore/before"
restore_begin "$id" "$T/restore/during"
expect_out "backup/full deleting" tidemark delete backup full
wait_for 20 waits full
expect_out Deleting status full .status.phase
removal_s=$(date -d "$(status full .status.timeRemoval)" +%s)
grace_s=$((removal_s - $(stat -c %Y "$path/deleted.mpk")))
[ "$grace_s" -ge 599 ] && [ "$grace_s" -le 605 ] || fail "the grace is $grace_s s"
tidemark describe backup full >"$T/described"
grep -q '^Objects go at: *2' "$T/described" || fail "$(cat "$T/described")"
grep -q 'its objects are removed at 2' "$T/described" || fail "$(cat "$T/described")"
[ "$(runner_pids)" = "" ] || fail "a process waits for the grace"
expect_fail 3 "holds no finished backup of test/main" alone restore -q --data-dir "$T/restore/late" --backup "$id"
alone list -o json >"$T/list.json"
expect_json "$T/list.json" '[.. | objects | select(.id? == "'"$id"'" or .backup? == "'"$id"'") | .state // "usable"] | unique | join(" ")' deleted
expect_fail 1 "Backup/full is being deleted: it keeps its name until its objects are removed at 2" tidemark apply -f "$T/full.yaml"
kill -CONT "$RESTORE_PID"
wait "$RESTORE_PID" || fail "the restore failed: $(cat "$T/restore.log")"
diff -r "$T/restore/before" "$T/restore/during" || fail "what was restored is not the same"
expect_out "$there" objects "$path"

step "another grace counts from the same tombstone; then all of it is gone, and the name is free"
expect_out "backup/full deleting" tidemark delete backup full --grace 0
wait_for 20 gone full
expect_out 0 objects "$path"
[ -e "$path/deleted.mpk" ] || fail "the tombstone is gone"
apply full "cleanGrace: 0s"

step "without a grace the same restore ends in the middle"
path=$(path_of full)
restore_begin "$(basename "$path")" "$T/restore/torn"
tidemark delete backup full >/dev/null
wait_for 20 gone full
kill -CONT "$RESTORE_PID"
! wait "$RESTORE_PID" || fail "a restore whose backup went away succeeded"
[ ! -e "$T/restore/torn/STARTABLE" ] || fail "it can be started"

# Until the grace is over by the tombstone's own time every object is there.
guard_start() { # PATH OBJECTS SECONDS
    (
        while [ ! -e "$1/deleted.mpk" ]; do sleep 0.02; done
        until_s=$(($(stat -c %Y "$1/deleted.mpk") + $3 - 1)) # the record's time is a bit before the file's
        while [ "$(date +%s)" -lt "$until_s" ]; do
            found=$(objects "$1")
            [ "$(date +%s)" -ge "$until_s" ] || [ "$found" = "$2" ] || {
                echo "$found of $2 objects before $until_s"
                exit 1
            }
            sleep 0.05
        done
    ) >"$T/guard.out" &
    GUARD=$!
}
killed() { # one of them, at any moment, and it comes again
    sleep "0.$((RANDOM % 9))"
    case $((RANDOM % 4)) in
    0) runner_pids | xargs -r kill -9 ;;
    1)
        agent_kill
        agent_start
        ;;
    2)
        coordinator_kill
        coordinator_start
        ;;
    3)
        agent_kill
        coordinator_kill
        coordinator_start
        agent_start
        ;;
    esac
}
step "$ROUNDS deletions, with agent, coordinator and runners killed at any moment"
RANDOM=${SEED:-7}
for n in $(seq "$ROUNDS"); do
    apply "b$n"
    path=$(path_of "b$n")
    guard_start "$path" "$(objects "$path")" 3
    expect_out "backup/b$n deleting" tidemark delete backup "b$n" --grace 3s
    for _ in $(seq $((2 + n % 4))); do killed; done
    wait_for 60 gone "b$n"
    wait "$GUARD" || fail "objects went too early: $(cat "$T/guard.out")"
    expect_out 0 objects "$path"
    [ -e "$path/deleted.mpk" ] || fail "the tombstone is gone"
done

step "the coordinator is lost with all it knew: the next deletion ends what it had begun"
apply orphan
path=$(path_of orphan)
there=$(objects "$path")
tidemark delete backup orphan --grace 2s >/dev/null
wait_for 20 test -e "$path/deleted.mpk"
coordinator_kill
rm -rf "$T/coordinator"
coordinator_start
wait_for 40 node_is primary
sleep 2
gone orphan 2>/dev/null || fail "it is still known"
expect_out "$there" objects "$path"
apply other "cleanGrace: 0s"
tidemark delete backup other >/dev/null
wait_for 20 gone other
expect_out 0 objects "$path"
daemons_stop
