#!/usr/bin/env bash
# The running line with the null engine, no database needed: coordinator, agent, runners, storage, and what a
# hard end of any of them leaves behind. Some of it needs root (mounts a small file system); runs in seconds.
. "$(dirname "$0")/../lib/harness.sh"

daemons_config() { # CONNINFO
    agent_config "$T/data"
    sed -i "s/engine: postgres/engine: \"null\"/; s|conninfo:.*|conninfo: \"$1\"|" "$T/agent.yaml"
    echo "log_level: debug" >>"$T/agent.yaml"
}
spec() { # NAME PATH [LINE…]
    local name=$1 path=$2
    shift 2
    printf 'apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: %s}\nspec:\n  br: {cluster: test, concurrency: 2}\n  local: {path: %s}\n' "$name" "$path"
    [ $# = 0 ] || printf '  %s\n' "$@"
}
apply() {
    spec "$@" >"$T/$1.yaml"
    expect_out "backup/$1 created" tidemark apply -f "$T/$1.yaml"
}
status() { tidemark get backup "$1" -o json | jq -r "$2"; }
running() { [ "$(status "$1" .status.progress.bytesDone)" -gt 0 ]; }
node_up() { tidemark nodes | finds "db-a *up"; }
node_down() { ! node_up; }
manifests() { find "$T/repo" -name manifest.mpk | wc -l; }

install -d -o postgres -g postgres "$T/repo" "$T/restore"
coordinator_start
daemons_config "files=200 bytes=20000 log=300000"
agent_start
wait_for 20 node_is primary

step "apply, Complete, list, verify, restore through the coordinator and without it"
apply first "$T/repo"
expect_out "backup/first unchanged" tidemark apply -f "$T/first.yaml"
tidemark wait backup first --for=Complete --timeout=120s
id=$(basename "$(status first .status.backupPath)")
expect_out 1 manifests
as_postgres "$BUILD/tidemark-agent" list --storage "file://$T/repo" | finds "$id" || fail "list does not know $id"
as_postgres "$BUILD/tidemark-agent" verify --storage "file://$T/repo" --cluster test >/dev/null
cat >"$T/restore.yaml" <<X
apiVersion: tidemark/v1
kind: Restore
metadata: {name: back}
spec: {br: {cluster: test}, backup: first, dataDir: $T/restore/one}
X
expect_out "restore/back created" tidemark apply -f "$T/restore.yaml"
tidemark wait restore back --for=Complete --timeout=120s
as_postgres "$BUILD/tidemark-agent" restore --storage "file://$T/repo" --cluster test --data-dir "$T/restore/two" >/dev/null
diff -r "$T/restore/one" "$T/restore/two" >/dev/null || fail "the two restores differ"
[ -e "$T/restore/two/STARTABLE" ] || fail "the restored directory cannot start"

step "a restore outside restore_roots is refused, saying so"
sed -e "s/name: back/name: outside/" -e "s|dataDir: .*}|dataDir: $T/elsewhere}|" "$T/restore.yaml" >"$T/outside.yaml"
tidemark apply -f "$T/outside.yaml" >/dev/null
tidemark wait restore outside --for=Failed --timeout=120s
tidemark get restore outside -o json | finds "restore_roots" || fail "$(tidemark get restore outside -o json)"
[ ! -e "$T/elsewhere" ] || fail "something was written outside"

step "a dry run: the plan of the node's agent, the same as without a coordinator; nothing is written, nothing stays"
plan() { tidemark restore plan --backup "${FROM:-first}" --cluster test --dry-run --data-dir "$@"; } # DIR [options]
no_resource() { ! tidemark get restore | grep dry-run; }
plan "$T/restore/three" >"$T/plan.txt"
as_postgres "$BUILD/tidemark-agent" restore -q --storage "file://$T/repo" --cluster test --data-dir "$T/restore/three" --dry-run >"$T/own.txt"
expect_out "would restore backup $id into $T/restore/three" head -n 1 "$T/plan.txt"
diff <(sed 's/ in about .* by / by /' "$T/plan.txt") <(sed 's/ in about .* by / by /' "$T/own.txt") || fail "two plans"
plan "$T/restore/three" -o json >"$T/plan.json"
as_postgres "$BUILD/tidemark-agent" restore -q --storage "file://$T/repo" --cluster test --data-dir "$T/restore/three" --dry-run -o json >"$T/own.json"
diff <(jq 'del(.estimateSeconds)' "$T/plan.json") <(jq 'del(.estimateSeconds)' "$T/own.json") || fail "two plans"
expect_json "$T/plan.json" .backupId "$id"
expect_json "$T/plan.json" '(.estimateSeconds | type) == "number" and .bytes > 0 and .ranges > 0' true
[ ! -e "$T/restore/three" ] || fail "a dry run wrote something"
expect_fail 1 "restore_roots" plan "$T/elsewhere"
expect_fail 1 "is not empty" plan "$T/restore/one"
FROM=20200101T000000Z-00000000 expect_fail 3 "backup '20200101T000000Z-00000000'" plan "$T/restore/three" --storage "file://$T/repo"
expect_fail 2 "--output is for --dry-run" tidemark restore plan --backup first --data-dir "$T/restore/three" -o json
no_resource || fail "a dry run left a resource"
sed -e "s/name: back/name: planned/" -e "s|dataDir: .*}|dataDir: $T/restore/three, dryRun: true}|" "$T/restore.yaml" >"$T/planned.yaml"
tidemark apply -f "$T/planned.yaml" >/dev/null
tidemark wait restore planned --for=Complete --timeout=120s
tidemark get restore planned -o json >"$T/planned.json"
expect_json "$T/planned.json" '.status.plan.bytes' "$(jq .bytes "$T/plan.json")"
[ ! -e "$T/restore/three" ] || fail "a dry run wrote something"

step "cleanPolicy Delete: storage is swept, then the resource goes"
apply gone "$T/repo" "cleanPolicy: Delete"
tidemark wait backup gone --for=Complete --timeout=120s
path=$(status gone .status.backupPath)
path=${path#file://}
tidemark delete backup gone --grace 0 >/dev/null
no_gone() { ! tidemark get backup gone; }
wait_for 20 no_gone
[ "$(find "$path" -type f ! -name deleted.mpk 2>/dev/null | wc -l)" = 0 ] || fail "left: $(find "$path" -type f)"
expect_out 1 manifests

step "a second instance of either daemon is refused and disturbs nobody"
expect_fail 1 "in use by another instance (process $COORDINATOR_PID)" as_postgres "$BUILD/tidemark-coordinator" -c "$T/coordinator.yaml"
expect_fail 1 "in use by another instance (process $AGENT_PID)" as_postgres "$BUILD/tidemark-agent" -c "$T/agent.yaml"
node_up || fail "the node is gone"

step "random bytes to the agents' port and the control socket"
python3 - "$AGENT_PORT" "$TIDEMARK_CONTROL_SOCKET" <<'X'
import os, random, socket, struct, sys
random.seed(1)
def throw(family, address, first):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.settimeout(0.2)
    try:
        s.connect(address)
        s.sendall(first + random.randbytes(random.randrange(2000)))
        s.recv(100)
    except OSError:
        pass
    s.close()
greeting = b"\0SP\0\0\x30\0\0"  # REQ, as nng says it
for n in range(60):
    throw(socket.AF_INET, ("127.0.0.1", int(sys.argv[1])), b"")
    throw(socket.AF_INET, ("127.0.0.1", int(sys.argv[1])), greeting)
    size = random.randrange(1, 3000)
    throw(socket.AF_INET, ("127.0.0.1", int(sys.argv[1])), greeting + struct.pack(">Q", size))
    throw(socket.AF_INET, ("127.0.0.1", int(sys.argv[1])), greeting + struct.pack(">Q", 1 << 40))
    throw(socket.AF_UNIX, sys.argv[2], b"")
X
kill -0 "$COORDINATOR_PID" || fail "the coordinator is gone"
node_up || fail "the node is gone"
apply after-junk "$T/repo"
tidemark wait backup after-junk --for=Complete --timeout=120s

step "the coordinator is ended and started: the state is true, the term is higher"
coordinator_kill TERM
coordinator_start
grep -q "term 2, listening" "$T/coordinator.log" || fail "no higher term"
expect_out Complete status first .status.phase
wait_for 20 node_is primary

agent_kill TERM
daemons_config "files=3000 bytes=100000 log=300000"
agent_start
wait_for 20 node_up
slow=("compression: none")

step "kill -9 of the coordinator while a backup runs: it completes all the same"
spec mid "$T/repo" "${slow[@]}" | sed 's/concurrency: 2/concurrency: 2, rateLimit: 60/' >"$T/mid.yaml"
tidemark apply -f "$T/mid.yaml" >/dev/null
wait_for 90 running mid
coordinator_kill KILL
coordinator_start
tidemark wait backup mid --for=Complete --timeout=120s

step "kill -9 of the runner: its ranges are leased anew"
spec torn "$T/repo" "${slow[@]}" | sed 's/concurrency: 2/concurrency: 2, rateLimit: 40/' >"$T/torn.yaml"
tidemark apply -f "$T/torn.yaml" >/dev/null
wait_for 90 running torn
runner_pids | xargs kill -9
tidemark wait backup torn --for=Complete --timeout=120s
as_postgres "$BUILD/tidemark-agent" verify --storage "file://$T/repo" --cluster test >/dev/null

step "kill -9 of the agent: Failed, saying so; nothing committed; resumed, it is"
before=$(manifests)
spec lost "$T/repo" "${slow[@]}" | sed 's/concurrency: 2/concurrency: 2, rateLimit: 10/' >"$T/lost.yaml"
tidemark apply -f "$T/lost.yaml" >/dev/null
wait_for 90 running lost
runner=$(runner_pids)
agent_kill KILL
gone() { ! kill -0 "$runner"; }
wait_for 5 gone # dies with its agent
wait_for 30 node_down
agent_start
wait_for 20 node_up
tidemark wait backup lost --for=Failed --timeout=120s
expect_out db-a status lost .status.lastError.node
expect_out "$before" manifests
expect_out Resumable status lost '.status.conditions[] | select(.type == "Failed") | .reason'
id=$(basename "$(status lost .status.backupPath)")
tidemark backup resume lost --no-wait >/dev/null
tidemark wait backup lost --for=Complete --timeout=120s
expect_out "$id" basename "$(status lost .status.backupPath)"
as_postgres "$BUILD/tidemark-agent" verify --storage "file://$T/repo" --cluster test --backup "$id" >/dev/null

step "the storage fills up: Failed with node and path, leftovers swept"
mkdir "$T/small"
if mount -t tmpfs -o size=90m,mode=777 tmpfs "$T/small" 2>/dev/null; then
    trap 'umount "$T/small"; harness_finish $?' EXIT
    apply full "$T/small" "${slow[@]}"
    tidemark wait backup full --for=Failed --timeout=120s
    status full .status.lastError.message | finds "No space left on device" || fail "$(status full .status.lastError)"
    expect_out db-a status full .status.lastError.node
    [ "$(find "$T/small" -path '*/backup/*' -type f ! -name deleted.mpk | wc -l)" = 0 ] ||
        fail "left: $(find "$T/small" -path '*/backup/*' -type f | head)"
else
    echo "cannot mount here: left out"
fi

step "SIGTERM ends both, and nothing had to be left behind"
daemons_stop
for daemon in agent coordinator; do
    grep -q stopping "$T/$daemon.log" || fail "no word of stopping"
    ! grep "not everything could be" "$T/$daemon.log" || fail "$daemon did not end by itself"
done

step "a damaged state: refused, saying what to do"
printf 'this is no database at all, whatever its name says' | dd of="$T/coordinator/state.db" conv=notrunc status=none
rm -f "$T/coordinator/state.db-wal" "$T/coordinator/state.db-shm"
expect_fail 1 "move it away and start with an empty state" as_postgres "$BUILD/tidemark-coordinator" -c "$T/coordinator.yaml"
