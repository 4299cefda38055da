#!/usr/bin/env bash
# tidemark storage test: two agents, of different users, on the same host. Who gets into a storage, who does not and
# why; what a new log backup is refused for; a server that hangs.
. "$(dirname "$0")/../lib/harness.sh"

# agent db-b, of any user
second_start() { # USER
    rm -rf "$T/agent-b" "$T/data-b"
    install -d -o "$1" -m 700 "$T/agent-b" "$T/data-b"
    sed -e "s/node: db-a/node: db-b/; s|state_dir: .*|state_dir: $T/agent-b|; s|$T/data|$T/data-b|" "$T/agent.yaml" >"$T/agent-b.yaml"
    setpriv --reuid="$1" --regid="$1" --clear-groups "$BUILD/tidemark-agent" -c "$T/agent-b.yaml" >>"$T/agent-b.log" 2>&1 &
    SECOND_PID=$!
    echo "$SECOND_PID" >>"$T/pids"
    wait_for 20 both_up
}
spec() { # NAME PATH [LINE…]
    local name=$1 path=$2
    shift 2
    printf 'apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: %s}\nspec:\n  br: {cluster: test}\n  local: {path: %s}\n' "$name" "$path"
    [ $# = 0 ] || printf '  %s\n' "$@"
}
both_up() { [ "$(tidemark nodes -o json | jq '[.items[] | select(.connected and (.instances | length) > 0)] | length')" = 2 ]; }
# the test of FILE ends with STATUS and says exactly this on stderr; its JSON is in $T/out.json
tested() { # STATUS STDERR WORD…
    local want=$1 text=$2 got
    shift 2
    set +e
    tidemark storage test "$@" -o json >"$T/out.json" 2>"$T/out.err"
    got=$?
    set -e
    [ "$got" = "$want" ] || fail "status $got instead of $want: $(cat "$T/out.json" "$T/out.err")"
    [ "$(cat "$T/out.err")" = "$text" ] || fail "said '$(cat "$T/out.err")' instead of '$text'"
}
node() { printf '.items[0].nodes[] | select(.node == "%s") | %s' "$1" "$2"; }
outcomes='[.steps[] | .step + "=" + .outcome] | join(" ")'
all_ok="open=ok write=ok read=ok range=ok list=ok create again=ok upload=ok download=ok delete=ok list after delete=ok"
nothing_left() { [ -z "$(find "$@" -mindepth 1 2>/dev/null)" ] || fail "left behind: $(find "$@" -mindepth 1)"; }

mkdir "$T/data" "$T/shared" "$T/private" "$T/readable"
chmod 1777 "$T/shared"
chown postgres "$T/data" "$T/private"
chmod 700 "$T/private"
chmod 755 "$T/readable"
coordinator_start

step "no agent has been here: nothing to test from"
spec ok "$T/shared" >"$T/ok.yaml"
tested 1 "tidemark: storage test: no node to test from" "$T/ok.yaml"
expect_json "$T/out.json" '.items[0].nodes | length' 0
expect_fail 1 "no agent of it has been here yet" tidemark storage test "$T/ok.yaml"

agent_config "$T/data"
sed -i "s/engine: postgres/engine: \"null\"/; s|conninfo:.*|conninfo: \"files=10 bytes=2000 log=300000\"|" "$T/agent.yaml"
agent_start
second_start postgres

step "a directory that both may use: every step on both nodes, seen as one, nothing left"
tested 0 "" "$T/ok.yaml"
for name in db-a db-b; do
    expect_json "$T/out.json" "$(node $name .result)" ok
    expect_json "$T/out.json" "$(node $name "$outcomes")" "$all_ok"
    expect_json "$T/out.json" "$(node $name .conditionalCreate)" true
    expect_json "$T/out.json" "$(node $name '.writeMicroseconds > 0 and .writeBytesPerSecond > 0 and .readBytesPerSecond > 0')" true
    expect_json "$T/out.json" "$(node $name '.skewMicroseconds | . < 1000000 and . > -1000000')" true
    expect_json "$T/out.json" "$(node $name '.mount.type')" "$(findmnt -no FSTYPE -T "$T/shared" | tail -n 1)"
    expect_json "$T/out.json" "$(node $name '.mount.freeBytes > 0')" true
    expect_json "$T/out.json" "$(node $name '.warnings[-1]')" "'$T/shared' is not a mount of its own: backups would lie on the database's own disk, beside '$T/data$(test $name = db-a || echo -b)'"
done
expect_json "$T/out.json" '[.items[0].nodes[].sees[]] | unique | join(" ")' "db-a db-b"
expect_json "$T/out.json" '.items[0] | "\(.kind)/\(.name) \(.cluster) \(.storage) \(.nodesWell) of \(.nodesTotal)"' "Backup/ok test file://$T/shared 2 of 2"
nothing_left "$T/shared"
tidemark storage test "$T/ok.yaml" >"$T/out"
sed -n 1p "$T/out" | finds -x "file://$T/shared from cluster test" || fail "$(cat "$T/out")"
sed -n 2p "$T/out" | finds -E "^NODE +RESULT +WRITE +READ +LIST +DELETE +CONDITIONAL +LATENCY +THROUGHPUT +SKEW +MOUNT +ERROR$" || fail "$(cat "$T/out")"
for line in 3 4; do
    sed -n ${line}p "$T/out" | finds -E "^db-[ab]  ok +ok +ok +ok +ok +yes +[0-9.]+[um]s/[0-9.]+[um]s +.*/s, .*/s +[-+].* -$" || fail "$(cat "$T/out")"
done

step "a path that is not there: its parent is tested; without that, it is said"
spec new "$T/shared/new" >"$T/new.yaml"
tested 0 "" "$T/new.yaml"
expect_json "$T/out.json" "$(node db-a '.warnings[0]')" "'$T/shared/new' does not exist: '$T/shared' was tested, where the first backup makes it"
nothing_left "$T/shared"
spec nowhere "$T/no/where" >"$T/nowhere.yaml"
tested 1 "tidemark: storage test: 2 of 2 nodes failed" "$T/nowhere.yaml"
expect_json "$T/out.json" "$(node db-a .error)" "storage path '$T/no/where' does not exist: create or mount it"

step "by URL, by name, of another cluster; wrong words"
tidemark storage test --storage "file://$T/shared" --cluster test >/dev/null
expect_out "backup/ok created" tidemark apply -f "$T/ok.yaml"
tidemark wait backup ok --for=Complete --timeout=120s
tested 0 "" ok
tested 0 "" backup/ok
tested 1 "tidemark: storage test: no node to test from" ok --cluster other
expect_fail 3 "tidemark: Backup/none: not found" tidemark storage test none
expect_fail 1 "tidemark: storage: cannot read '$T/none.yaml': No such file or directory" tidemark storage test "$T/none.yaml"
expect_fail 2 "tidemark: storage: test: timeout '2m' is not 1s to 50s" tidemark storage test ok --timeout 2m
printf 'apiVersion: tidemark/v1\nkind: Restore\nmetadata: {name: r}\nspec: {backup: ok, dataDir: %s}\n' "$T/restore/r" >"$T/r.yaml"
tested 0 "" "$T/r.yaml"
expect_json "$T/out.json" '.items[0] | "\(.kind)/\(.name) \(.cluster) \(.storage)"' "Restore/r test file://$T/shared"
[ ! -e "$T/shared/probe" ] || fail "left: $(ls -R "$T/shared/probe")"

step "a new log backup whose storage is well is applied"
spec wal2 "$T/shared" "backupMode: log" >"$T/wal2.yaml"
expect_out "backup/wal2 created" tidemark apply -f "$T/wal2.yaml"

step "a file system that hangs, its processes beyond killing: said which node, storage and in what; nobody else waits"
mkdir "$T/hung"
truncate -s 400M "$T/hung.img"
mkfs.ext4 -q "$T/hung.img"
mount -o loop "$T/hung.img" "$T/hung"
chmod 1777 "$T/hung"
thaw() { fsfreeze -u "$T/hung" 2>/dev/null || true; }
trap 'status=$?; thaw; harness_finish $status' EXIT
spec hung "$T/hung" >"$T/hung.yaml"
tested 0 "" "$T/hung.yaml"
expect_json "$T/out.json" "$(node db-a .mount.point)" "$T/hung"
expect_json "$T/out.json" "$(node db-a '.warnings | length')" 1 # that little is free
spec slow "$T/hung" "backupMode: log" >"$T/slow.yaml"
expect_out "backup/slow created" tidemark apply -f "$T/slow.yaml"
tidemark wait backup slow --for=Running --timeout=60s
fsfreeze -f "$T/hung"
hung_since=$SECONDS
for round in 1 2 3 4; do
    began=$SECONDS
    tested 1 "tidemark: storage test: 2 of 2 nodes failed" "$T/hung.yaml" --timeout 2s
    [ $((SECONDS - began)) -le 20 ] || fail "round $round took $((SECONDS - began)) s"
    for name in db-a db-b; do
        expect_json "$T/out.json" "$(node $name .result)" failed
        expect_json "$T/out.json" "$(node $name .error)" "node '$name': storage 'file://$T/hung' hangs: writing to it was not over after 2 s"
    done
done
tested 1 "tidemark: storage test: 2 of 2 nodes failed" "$T/hung.yaml" --timeout 2s
expect_json "$T/out.json" "$(node db-a .error)" "node 'db-a': 4 storage tests of before still hang, and cannot be killed"
expect_fail 1 "hang" tidemark storage test "$T/hung.yaml" --timeout 2s
both_up || fail "an agent is gone: $(tidemark nodes)"
tested 1 "tidemark: storage test: 2 of 2 nodes failed" "$T/ok.yaml" # the limit is the node's
spec after "$T/shared" >"$T/after.yaml"
expect_out "backup/after created" tidemark apply -f "$T/after.yaml"
tidemark wait backup after --for=Complete --timeout=120s
# a job says it, too, when a call has not come back for a minute
error_of() { tidemark get backup "$1" -o json | jq -r '.status.lastError.message // ""'; }
slow_says() { error_of slow | finds -E "^node 'db-[ab]': storage 'file://$T/hung' hangs: [a-z]+ '.*' has taken longer than 60 s$"; }
wait_for 100 slow_says
[ $((SECONDS - hung_since)) -ge 55 ] || fail "said after $((SECONDS - hung_since)) s: $(error_of slow)"
thaw
slow_is_well() { [ -z "$(error_of slow)" ]; }
wait_for 60 slow_is_well
tidemark log stop slow >/dev/null
well() { tidemark storage test "$T/hung.yaml"; }
wait_for 20 well
umount "$T/hung"

step "a directory that may only be read: which verbs are denied"
spec readable "$T/readable" >"$T/readable.yaml"
tested 1 "tidemark: storage test: 2 of 2 nodes failed" "$T/readable.yaml"
for name in db-a db-b; do
    expect_json "$T/out.json" "$(node $name "$outcomes")" "open=ok write=failed read=skipped range=skipped list=ok create again=skipped upload=skipped download=skipped delete=skipped list after delete=skipped"
    expect_json "$T/out.json" "$(node $name .error)" "cannot create '$T/readable/probe': Permission denied"
done
nothing_left "$T/readable"
expect_fail 1 "db-b: write: cannot create '$T/readable/probe': Permission denied" tidemark storage test "$T/readable.yaml"

step "an agent of another user: what only user postgres may do it may not"
end_process "$SECOND_PID" TERM
second_start daemon

step "a directory of one user alone: the other is named, and why"
spec private "$T/private" >"$T/private.yaml"
tested 1 "tidemark: storage test: 1 of 2 nodes failed" "$T/private.yaml"
expect_json "$T/out.json" "$(node db-a .result)" ok
expect_json "$T/out.json" "$(node db-b .result)" failed
expect_json "$T/out.json" "$(node db-b .error)" "cannot open storage path '$T/private': Permission denied"
expect_json "$T/out.json" "$(node db-b "$outcomes")" "open=failed $(echo "${all_ok#open=ok }" | sed 's/=ok/=skipped/g')"
nothing_left "$T/private"

step "a new log backup is refused where a node fails, and applied with --skip-test"
spec wal "$T/private" "backupMode: log" >"$T/wal.yaml"
set +e
tidemark apply -f "$T/wal.yaml" >"$T/out" 2>"$T/out.err"
got=$?
set -e
[ "$got" = 1 ] && [ ! -s "$T/out" ] || fail "status $got: $(cat "$T/out" "$T/out.err")"
grep -qE "^db-b +failed" "$T/out.err" || fail "no table: $(cat "$T/out.err")"
expect_out "tidemark: backup/wal: not applied, the storage test failed on 1 of 2 nodes; --skip-test applies it all the same" tail -n 1 "$T/out.err"
expect_fail 3 "not found" tidemark get backup wal
expect_fail 1 "storage test failed on 1 of 2 nodes" tidemark log start wal --cluster test --storage "file://$T/private"
expect_out "backup/wal created" tidemark apply -f "$T/wal.yaml" --skip-test
expect_out "backup/wal unchanged" tidemark apply -f "$T/wal.yaml"

step "a node that is not connected: named, warned of before an apply"
end_process "$SECOND_PID" KILL
one_up() { ! both_up; }
wait_for 20 one_up
tested 1 "tidemark: storage test: 1 of 2 nodes failed" "$T/private.yaml"
expect_json "$T/out.json" "$(node db-b .result)" "not connected"
expect_json "$T/out.json" "$(node db-b .error)" "the agent is not connected"
spec wal3 "$T/private/3" "backupMode: log" >"$T/wal3.yaml"
expect_out "backup/wal3 created
tidemark: warning: backup/wal3: storage file://$T/private/3 was not tested from node 'db-b': the agent is not connected" \
    sh -c "'$BUILD/tidemark' apply -f '$T/wal3.yaml' 2>'$T/out.err'; cat '$T/out.err'"
end_process "$AGENT_PID" KILL
wait_for 30 node_is "db-a *lost"
spec wal4 "$T/private/4" "backupMode: log" >"$T/wal4.yaml"
expect_out "backup/wal4 created
tidemark: warning: backup/wal4: no agent of cluster 'test' is connected: storage file://$T/private/4 was not tested" \
    sh -c "'$BUILD/tidemark' apply -f '$T/wal4.yaml' 2>'$T/out.err'; cat '$T/out.err'"
