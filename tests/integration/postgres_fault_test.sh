#!/usr/bin/env bash
# What goes wrong on a real host while a backup runs, and what must be true afterwards: a phase that tells the
# truth, nothing committed that is not whole, a cause that names node and path, and a next backup that works.
TIDEMARK_TEST_DIR=/var/tmp # on a disk: it needs gigabytes
. "$(dirname "$0")/../lib/harness.sh"

backup_spec() { # NAME [MORE YAML LINES…]
    local name=$1
    shift
    printf 'apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: %s}\nspec:\n  local: {path: %s}\n' "$name" "${REPO:-$T/repo}"
    printf '  %s\n' "br: {cluster: test, concurrency: 2${RATE:+, rateLimit: $RATE}${BR:+, $BR}}" "$@"
}
apply() { backup_spec "$@" >"$T/$1.yaml" && expect_out "backup/$1 created" tidemark apply -f "$T/$1.yaml"; }
status() { tidemark get backup "$1" -o json | jq -r "$2"; }
running() { [ "$(status "$1" .status.phase)" = Running ] && [ "$(status "$1" .status.progress.rangesDone)" -ge 1 ]; }
committed() { find "${REPO:-$T/repo}" -name manifest.mpk | wc -l; }
restores() { # NAME: the backup restores and the manifest agrees
    local id
    id=$(basename "$(status "$1" .status.backupPath)")
    rm -rf "$T/restore/$1"
    as_postgres "$BUILD/tidemark-agent" restore --storage "file://${REPO:-$T/repo}" --cluster test --backup "$id" \
        --data-dir "$T/restore/$1" >"$T/restore-$1.log" 2>&1 || fail "restore of $1"
    "$TOP/tests/integration/manifest_check.py" "$T/restore/$1"
}

install -d -o postgres -g postgres "$T/restore"
postgres_init 15 "$T/source" -k
postgres_start 15 "$T/source"
pgbench -i -q -s 40 postgres >/dev/null 2>&1
sql postgres -c checkpoint
daemons_start "$T/source"
install -d -o postgres -g postgres "$T/repo"

step "kill -9 of the runner, three times: its ranges are leased anew and the job completes"
RATE=100 apply killed-runner
wait_for 60 running killed-runner
for _ in 1 2 3; do
    runner_pids | xargs -r kill -9 || true # it may just have ended
    sleep 1
done
tidemark wait backup killed-runner --for=Complete --timeout=120s
restores killed-runner

step "kill -9 of the runner, and a log chunk it stored is damaged: streamed again, and said"
RATE=60 apply damaged-log
wait_for 60 running damaged-log
chunk() { find "$(status damaged-log .status.backupPath | sed 's|^file://||')/log" -type f ! -name '.*' | sort | sed -n 1p | grep .; }
sql postgres -c "create table filler as select 1" -c "select pg_switch_wal()" >/dev/null # the first chunk is whole
wait_for 20 chunk
damaged=$(chunk)
printf 'XXXX' | dd of="$damaged" bs=1 seek=$(($(stat -c %s "$damaged") / 2)) conv=notrunc status=none
runner_pids | xargs -r kill -9
tidemark wait backup damaged-log --for=Complete --timeout=120s
status damaged-log '.status.warnings[]' | finds "^stored log is damaged and is streamed again: .*$(basename "$damaged")" ||
    fail "no warning: $(status damaged-log .status.warnings)"
grep -q "<4>.*job 'damaged-log': stored log is damaged" "$T/agent.log" || fail "not in the agent's log"
restores damaged-log

step "kill -9 of the coordinator: the job goes on and completes"
RATE=60 apply killed-coordinator
wait_for 60 running killed-coordinator
coordinator_kill
sleep 1
coordinator_start
tidemark wait backup killed-coordinator --for=Complete --timeout=120s
restores killed-coordinator

step "kill -9 of the agent, without checkpoints: Failed, saying why; nothing committed, leftovers swept"
before=$(committed)
BR='options: ["--no-checkpoint"]' RATE=20 apply killed-agent
wait_for 60 running killed-agent
id=$(basename "$(status killed-agent .status.backupPath)")
orphan=$(runner_pids)
agent_kill
orphan_gone() { ! kill -0 $orphan; }
wait_for 5 orphan_gone
agent_start
tidemark wait backup killed-agent --for=Failed --timeout=120s
case $(status killed-agent .status.lastError.message) in
*"agent"*"restarted"*) ;;
*) fail "lastError is '$(status killed-agent .status.lastError.message)'" ;;
esac
[ "$(committed)" = "$before" ] || fail "a manifest of a failed backup"
no_leftovers() { [ "$(find "$T/repo" -path "*$id*" -type f ! -name deleted.mpk | wc -l)" = 0 ]; }
wait_for 30 no_leftovers
[ -z "$(find "$T/repo" -type d -empty)" ] || fail "empty directories: $(find "$T/repo" -type d -empty)"

step "the database session is lost: Failed, saying so; it may be gone on with (see resume_test.sh), and is"
RATE=20 apply lost-session
wait_for 60 running lost-session
sql postgres -c "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'tidemark%' and backend_type = 'client backend'" >/dev/null
tidemark wait backup lost-session --for=Failed --timeout=120s
expect_out db-a status lost-session .status.lastError.node
expect_out Resumable status lost-session '.status.conditions[] | select(.type == "Failed") | .reason'
id=$(basename "$(status lost-session .status.backupPath)")
tidemark backup resume lost-session --no-wait >/dev/null
tidemark wait backup lost-session --for=Complete --timeout=120s
expect_out "$id" basename "$(status lost-session .status.backupPath)"
restores lost-session

step "storage: full from the start, and full in the middle"
mkdir "$T/small"
mount -t tmpfs -o size=16m,mode=777 tmpfs "$T/small"
REPO=$T/small apply full-start
tidemark wait backup full-start --for=Failed --timeout=120s
case $(status full-start .status.lastError.message) in
*"$T/small' is full: only 1"[56]" MiB are free"*) ;;
*) fail "lastError is '$(status full-start .status.lastError.message)'" ;;
esac
mount -o remount,size=100m "$T/small"
# with checkpoints it might be kept, to be gone on with
BR='options: ["--no-checkpoint"]' REPO=$T/small RATE=20 apply full-disk
wait_for 60 running full-disk
dd if=/dev/zero of="$T/small/filler" bs=1M status=none 2>/dev/null || true
tidemark wait backup full-disk --for=Failed --timeout=120s
case $(status full-disk .status.lastError.message) in
*"$T/small"*"No space left on device"* | *"No space left on device"*) ;;
*) fail "lastError is '$(status full-disk .status.lastError.message)'" ;;
esac
expect_out db-a status full-disk .status.lastError.node
swept_small() { [ "$(find "$T/small" -path '*backup/*' -type f ! -name deleted.mpk | wc -l)" = 0 ]; }
wait_for 30 swept_small
no_empty() { [ -z "$(find "$T/small" -mindepth 1 -type d -empty)" ]; }
wait_for 10 no_empty
[ "$(REPO=$T/small committed)" = 0 ] || fail "a manifest on a full disk"
umount "$T/small"

step "storage: missing, read-only, another cluster's"
REPO=$T/nowhere/deep apply no-path
tidemark wait backup no-path --for=Failed --timeout=120s
case $(status no-path .status.lastError.message) in *"$T/nowhere"*) ;; *) fail "$(status no-path .status.lastError.message)" ;; esac
mkdir "$T/readonly"
mount -t tmpfs -o size=200m,ro tmpfs "$T/readonly"
REPO=$T/readonly apply read-only
tidemark wait backup read-only --for=Failed --timeout=120s
case $(status read-only .status.lastError.message) in *"$T/readonly"*"Read-only file system"*) ;; *) fail "$(status read-only .status.lastError.message)" ;; esac
umount "$T/readonly"

step "the database server is down: Failed, saying so; up again: works"
postgres_stop 15 "$T/source" immediate
RATE='' apply server-down
tidemark wait backup server-down --for=Failed --timeout=120s || true
postgres_start 15 "$T/source"
wait_for 30 node_is primary
apply server-up
tidemark wait backup server-up --for=Complete --timeout=120s
restores server-up

step "every object: one bit flipped or the tail cut off is refused, naming it, and nothing can be started"
id=$(basename "$(status server-up .status.backupPath)")
find "$T/repo" -path "*$id*" -type f | sort >"$T/objects"
for object in $(shuf -n 6 --random-source=/dev/zero "$T/objects") $(grep manifest.mpk "$T/objects"); do
    for how in flip cut; do
        cp -p "$object" "$T/whole"
        size=$(stat -c %s "$object")
        if [ $how = flip ]; then
            at=$((size / 2))
            byte=$(od -An -tu1 -j $at -N1 "$object" | tr -d ' ')
            printf "\\x$(printf %x $((byte ^ 4)))" | dd of="$object" bs=1 seek=$at conv=notrunc status=none
        else
            truncate -s $((size - 1)) "$object"
        fi
        rm -rf "$T/restore/broken"
        if as_postgres "$BUILD/tidemark-agent" restore --storage "file://$T/repo" --cluster test --backup "$id" \
            --data-dir "$T/restore/broken" >"$T/broken.log" 2>&1; then
            case $object in */plan/*) ;; # a restore does not read the plan
            *) fail "$how of $object went unnoticed" ;;
            esac
        else
            grep -q "$(basename "$object")" "$T/broken.log" || fail "$how of $object: $(cat "$T/broken.log")"
            [ ! -e "$T/restore/broken/global/pg_control" ] || fail "$how of $object left a startable directory"
        fi
        cp -p "$T/whole" "$object"
    done
done
restores server-up

step "a corrupt page in the database: named by file and block, the backup goes on"
file=$(sql postgres -c "select pg_relation_filepath('pgbench_accounts')")
# no vacuum may write the page again from memory
sql postgres -c "alter table pgbench_accounts set (autovacuum_enabled = off)" -c checkpoint
printf 'XXXX' | dd of="$T/source/$file" bs=1 seek=$((8192 * 7 + 4000)) conv=notrunc status=none
apply corrupt-page
tidemark wait backup corrupt-page --for=Complete --timeout=120s
case $(tidemark get backup corrupt-page -o json) in
*"$file"*) ;;
*) fail "the corrupt page is not named: $(tidemark get backup corrupt-page -o json)" ;;
esac

step "random bytes to the agent port and the control socket change nothing"
for _ in $(seq 20); do
    head -c 3000 /dev/urandom | timeout 2 bash -c "cat >/dev/tcp/127.0.0.1/$AGENT_PORT" 2>/dev/null || true
    head -c 3000 /dev/urandom | timeout 2 python3 -c "
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect('$TIDEMARK_CONTROL_SOCKET'); s.sendall(sys.stdin.buffer.read()); s.close()" 2>/dev/null || true
done
tidemark version >/dev/null
node_is primary || fail "the agent is gone"

step "SIGTERM ends both daemons cleanly"
kill -TERM "$AGENT_PID" "$COORDINATOR_PID"
wait "$AGENT_PID" || fail "the agent ended with status $?"
wait "$COORDINATOR_PID" || fail "the coordinator ended with status $?"
expect_fail 4 "control.sock" tidemark get backup
