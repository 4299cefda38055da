#!/usr/bin/env bash
# What an operator does to a running line, and what must be true afterwards: the contract of get, wait, edit and
# apply; spec files of the TiDB Operator; signals to both daemons and two agents of one name while a backup runs; two
# restores into one directory, and one that is killed. With the null engine: no database is needed.
. "$(dirname "$0")/../lib/harness.sh"

spec() { # NAME [RATE]
    printf 'apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: %s, labels: {team: shop}}\nspec:\n' "$1"
    printf '  br: {cluster: test, concurrency: 2%s}\n  compression: none\n  rangeSize: 16MiB\n  local: {path: %s}\n' "${2:+, rateLimit: $2}" "$T/repo"
}
apply() { spec "$@" >"$T/$1.yaml" && expect_out "backup/$1 created" tidemark apply -f "$T/$1.yaml"; }
status() { tidemark get "${3:-backup}" "$1" -o json | jq -r "$2"; }
running() { [ "$(status "$1" .status.progress.rangesDone)" -ge 2 ] && [ "$(status "$1" .status.phase)" = Running ]; }
ended_cleanly() { # PID: by SIGTERM, with status 0
    kill -TERM "$1"
    wait "$1" || fail "ended with status $?"
}
said() { grep -q "$2" "$1"; }
complete() { tidemark wait backup "$1" --for=Complete --timeout=120s; }
kinds() { # the phases of all restores
    tidemark get restore -o json | jq -r '[.items[].status.phase] | sort | join(" ")'
}

install -d -o postgres -g postgres "$T/repo" "$T/restore"
coordinator_start
agent_config "$T/data"
sed -i "s/engine: postgres/engine: \"null\"/; s|conninfo:.*|conninfo: \"files=500 bytes=300000 log=300000\"|" "$T/agent.yaml"
agent_start
wait_for 20 node_is primary

step "spec files of the TiDB Operator, v1 and v2, with all that has no meaning here"
cat >"$T/v1.yaml" <<SPEC
apiVersion: pingcap.com/v1alpha1
kind: Backup
metadata:
  name: v1
  namespace: test1
  annotations: {iam.amazonaws.com/role: "arn:aws:iam::1:role/user"}
  labels: {tidb.pingcap.com/backup-schedule: demo1}
  finalizers: [tidb.pingcap.com/backup-protection]
spec:
  requests: {cpu: 1000m}
  resources: {limits: {cpu: 2000m, memory: 2Gi}}
  env: [{name: X, value: "1"}]
  from: {host: tidb, port: 4000, user: backup, secretName: s, tlsClientSecretName: x}
  backupType: full
  tikvGCLifeTime: 72h
  storageSize: 100Gi
  tolerations: [{effect: NoSchedule, key: dedicated, operator: Equal, value: tidb}]
  affinity: {}
  toolImage: pingcap/br:v5.2.0
  imagePullSecrets: [{name: s}]
  tableFilter: []
  useKMS: false
  serviceAccount: backup
  cleanOption: {pageSize: 10000}
  podSecurityContext: {}
  priorityClassName: high
  br: {cluster: test, clusterNamespace: default, db: "", table: "", timeAgo: "", logLevel: info, statusAddr: "",
       concurrency: 4, rateLimit: 0, checksum: true, sendCredToTikv: true, onLine: false, options: []}
  local:
    prefix: nfs
    volume: {name: nfs, nfs: {server: 192.168.0.2, path: $T/repo}}
    volumeMount: {name: nfs, mountPath: $T/repo}
SPEC
sed -e 's|pingcap.com/v1alpha1|br.pingcap.com/v1alpha1|' -e 's/name: v1/name: v2/' -e '/^  requests/d' "$T/v1.yaml" >"$T/v2.yaml"
for version in v1 v2; do
    expect_out "backup/$version created" tidemark apply -f "$T/$version.yaml" 2>"$T/$version.warnings"
    for field in annotations from toolImage resources env affinity volume; do
        grep -q "^tidemark: warning: .*/$version.yaml:.*'$field'" "$T/$version.warnings" ||
            fail "no warning of $field: $(cat "$T/$version.warnings")"
    done
    complete "$version"
done
tidemark get bk -n test1 -l tidb.pingcap.com/backup-schedule=demo1 -o json >"$T/selected.json"
expect_json "$T/selected.json" '[.items[].metadata.name] | sort | join(" ")' "v1 v2"

step "get and wait: every exit status of the contract"
expect_fail 2 "label 'team' is not KEY=VALUE" tidemark get bk -l team
expect_fail 2 "label '=shop' is not KEY=VALUE" tidemark get bk -l =shop
expect_fail 2 "output 'xml' is not known" tidemark get bk -o xml
tidemark get bk -l team=nobody -o json >"$T/none.json"
expect_json "$T/none.json" '.items | length' 0
tidemark get bk v1 -o wide | finds '^NAME .* SIZE .* POSITION .* LASTERROR$' || fail "$(tidemark get bk v1 -o wide)"
expect_fail 0 "" tidemark wait bk v1 --for=Complete --timeout=1s
expect_fail 1 "backup/v1 is Complete and cannot become Failed" tidemark wait bk v1 --for=Failed --timeout=1s
expect_fail 2 "did you mean 'Complete'?" tidemark wait bk v1 --for=Complet
expect_fail 2 "'banana' is not a duration" tidemark wait bk v1 --for=Complete --timeout=banana
expect_fail 3 "backup/none: not found" tidemark wait bk none --for=Complete
expect_fail 3 "backup/none: not found" tidemark describe bk none
expect_fail 4 "is tidemark-coordinator running?" tidemark --socket "$T/none.sock" wait bk v1 --for=Complete
expect_fail 5 "join the group tidemark" runuser -u nobody -- "$BUILD/tidemark" get bk

step "apply of many documents, one of them wrong: that one is named, and nothing is done by halves"
{
    spec many-1
    echo ---
    spec many-2 | sed 's/concurrency: 2/concurrency: -2/'
    echo ---
    spec many-3
} >"$T/many.yaml"
expect_fail 2 "many.yaml:14:36: 'concurrency': -2 is not in 0 to 256" tidemark apply -f "$T/many.yaml"
expect_fail 3 "not found" tidemark get bk many-1

step "edit: nothing, a mistake, an editor that fails, a change of what has run already"
EDITOR=true expect_fail 0 "nothing is changed" tidemark edit bk v1
EDITOR="sed -i 's/concurrency: 4/concurrency: many/'" expect_fail 2 "'concurrency'" tidemark edit bk v1
EDITOR=false expect_fail 1 "" tidemark edit bk v1
EDITOR="sed -i 's/cleanPolicy: .*//; s/^spec:/spec:\n  cleanPolicy: Delete/'" expect_fail 0 "backup/v1 configured" tidemark edit bk v1
expect_out Delete status v1 .spec.cleanPolicy

step "what get prints of many can be applied again"
tidemark get bk -o yaml >"$T/all.yaml"
expect_out "backup/v1 unchanged
backup/v2 unchanged" sh -c "'$BUILD/tidemark' apply -f '$T/all.yaml' 2>/dev/null | sort"

step "SIGHUP to both while a backup runs: it goes on; SIGTERM to the coordinator: it drains, the backup goes on"
apply signals 20
wait_for 30 running signals
kill -HUP "$AGENT_PID" "$COORDINATOR_PID"
sleep 0.3
ended_cleanly "$COORDINATOR_PID"
! said "$T/coordinator.log" "Backup/signals is Complete" || fail "it was over too soon"
coordinator_start
complete signals
expect_out 1 status signals .status.attempt

step "two agents of one name: the one that works stays, the newcomer is told why"
apply twins 80
wait_for 30 running twins
install -d -o postgres -g postgres -m 700 "$T/twin"
sed "s|state_dir: .*|state_dir: $T/twin|" "$T/agent.yaml" >"$T/twin.yaml"
spawn "$T/twin.log" "$BUILD/tidemark-agent" -c "$T/twin.yaml"
twin=$SPAWNED
wait_for 10 said "$T/twin.log" "another agent is connected as node 'db-a' of cluster 'test': stop it, or give this one a node name"
complete twins
expect_out 1 status twins .status.attempt
! said "$T/coordinator.log" "connected again" || fail "the two push each other out"
end_process "$twin" KILL

step "an agent that was killed and started again is let in at once"
agent_kill
mv "$T/agent.log" "$T/agent-killed.log"
agent_start
wait_for 2 said "$T/agent.log" "connected, term"
! said "$T/agent.log" "another agent is connected" || fail "it was turned away first"

step "SIGTERM to the agent while a backup runs: a clean end, then Failed, and how far it came; it goes on from there"
wait_for 5 node_is "db-a  *up"
apply stopped 10
wait_for 30 running stopped
ended_cleanly "$AGENT_PID"
expect_out "the agent was stopped" status stopped .status.lastError.message
agent_start
tidemark wait backup stopped --for=Failed --timeout=120s
tidemark get backup stopped -o json >"$T/stopped.json"
expect_json "$T/stopped.json" '.status.progress | .rangesDone >= 2 and .rangesDone < .rangesTotal and .bytesDone > 0 and .bytesDone < .bytesTotal' true
expect_json "$T/stopped.json" '.status.conditions[] | select(.type == "Failed") | .reason' Resumable
id=$(status stopped .status.backupId)
expect_fail 0 "backup/stopped" tidemark retry backup stopped
complete stopped
expect_out "$id" status stopped .status.backupId
expect_out 2 status stopped .status.attempt

step "two restores into one directory: one wins, the other says why"
restore() {
    printf 'apiVersion: tidemark/v1\nkind: Restore\nmetadata: {name: %s}\nspec: {br: {cluster: test}, backup: twins, dataDir: %s}\n' \
        "$1" "$T/restore/one" >"$T/$1.yaml"
    expect_out "restore/$1 created" tidemark apply -f "$T/$1.yaml"
}
settled() { case $(kinds) in *Running* | *Scheduled*) return 1 ;; esac }
restore left
restore right
wait_for 30 settled
expect_out "Complete Failed" kinds
tidemark get restore -o json | jq -r '.items[].status.lastError.message // empty' |
    grep -q "another restore is writing to\|is not empty" || fail "$(tidemark get restore -o json)"
alone=(setpriv --reuid=postgres --regid=postgres --init-groups "$BUILD/tidemark-agent" restore --storage "file://$T/repo"
    --cluster test --backup "$(status twins .status.backupId)" -q)
"${alone[@]}" --data-dir "$T/restore/two"
diff -r "$T/restore/one" "$T/restore/two" >/dev/null || fail "the two differ"

step "a restore that is killed leaves nothing startable; a plain one refuses what is there, delta takes it up"
begun() { [ "$(find "$T/restore/killed" -type f 2>/dev/null | wc -l)" -gt 20 ]; }
"${alone[@]}" --data-dir "$T/restore/killed" --rate-limit 10 >/dev/null 2>&1 &
killed=$!
until begun; do kill -0 "$killed" || fail "it ended before it began"; done
end_process "$killed" KILL
[ ! -e "$T/restore/killed/STARTABLE" ] || fail "it can be started"
expect_fail 1 "is not empty: choose another directory, or ask for delta" "${alone[@]}" --data-dir "$T/restore/killed"
"${alone[@]}" --data-dir "$T/restore/killed" --delta
diff -r "$T/restore/one" "$T/restore/killed" >/dev/null || fail "the two differ"
daemons_stop
