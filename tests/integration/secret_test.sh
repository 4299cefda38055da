#!/usr/bin/env bash
# Secrets: created, listed, named by specs, sent to agents where nobody can listen, deleted; and in no file, log or
# message; encrypted with a key that is handed over, and how that key is made. The null engine, no database. Runs as root
# (the last parts let the coordinator be root, so that systemd-creds has a key).
. "$(dirname "$0")/../lib/harness.sh"

AK=AKIAsecrettest$RANDOM
SK=hunter2-$RANDOM-$RANDOM-secret
keys() { printf '%s\n' "--from-literal" "access_key=$AK" "--from-literal" "secret_key=$1"; }
create() { # NAME SECRET_KEY
    local words
    mapfile -t words < <(keys "$2")
    tidemark create secret "$1" "${words[@]}"
}
s3() { # NAME SECRET [LINE…]: a backup to a store that does not answer
    local name=$1 secret=$2
    shift 2
    printf 'apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: %s}\nspec:\n' "$name"
    printf '  %s\n' "$@"
    printf '  s3: {provider: minio, bucket: bucket, endpoint: "http://127.0.0.1:9", secretName: %s}\n' "$secret"
}
status() { tidemark get backup "$1" -o json | jq -r "$2"; }
nowhere() { # [files]: what was stored under these words is in nothing but the secret's own file; nor is it told
    local word
    for word in "$AK" "$SK" "$SK-2"; do
        grep -rlaF -e "$word" "$T" --exclude-dir=secrets --exclude-dir=given && fail "$word is where it does not belong"
        [ "${1:-}" != files ] || continue
        tidemark get secrets -o json | grep -F -e "$word" && fail "get tells it"
        tidemark get secrets -o yaml | grep -F -e "$word" && fail "get tells it"
        tidemark get backup -o json | grep -F -e "$word" && fail "get backup tells it"
        tidemark describe secret s3-secret 2>/dev/null | grep -F -e "$word" && fail "describe tells it"
    done
    return 0
}
node_up() { tidemark nodes | finds "db-a *up"; }
failed_with() { tidemark get backup "$1" -o json | jq -e --arg t "$2" '.status.lastError.message // "" | contains($t)' >/dev/null; }

install -d -m 700 "$T/given"
coordinator_start
agent_config "$T/data"
sed -i 's/engine: postgres/engine: "null"/; s|conninfo:.*|conninfo: "files=20"|' "$T/agent.yaml"
agent_start
wait_for 20 node_is primary

step "create, list, replace; names and keys are shown, values never"
expect_out "secret/s3-secret created" create s3-secret "$SK"
expect_out "secret/s3-secret unchanged" create s3-secret "$SK"
expect_out "secret/s3-secret configured" create s3-secret "$SK-2"
printf 'from a file\n' >"$T/given/AZURE_STORAGE_KEY"
expect_out "secret/azure created" tidemark create secret azure --from-file "$T/given/AZURE_STORAGE_KEY"
expect_out "secret/piped created" tidemark create secret piped --from-literal access_key=a --from-file secret_key=- <<<"$SK"
expect_out "azure piped s3-secret" bash -c "'$BUILD/tidemark' get secrets | awk 'NR > 1 {printf \"%s%s\", sep, \$1; sep = \" \"} END {print \"\"}'"
expect_out '["access_key","secret_key"]' bash -c "'$BUILD/tidemark' get secret s3-secret -o json | jq -c .keys"
expect_out plain bash -c "'$BUILD/tidemark' get secrets -o json | jq -r '.items[2].file'"
expect_out Secret bash -c "'$BUILD/tidemark' get secret s3-secret -o yaml | sed -n 's/^kind: //p'"
expect_out 600 stat -c %a "$T/coordinator/secrets/s3-secret"
expect_out 700 stat -c %a "$T/coordinator/secrets"
grep -q "secrets are stored in plain files" "$T/coordinator.log" || fail "it does not say how secrets are stored"
nowhere

step "bad input is named, values are not"
expect_fail 2 "--from-literal wants KEY=VALUE" tidemark create secret x --from-literal "$SK"
expect_fail 2 "what it holds is missing" tidemark create secret x
expect_fail 2 "key 'k' is given twice" tidemark create secret x --from-literal k=1 --from-literal k=2
expect_fail 2 "name 'X_Y'" tidemark create secret X_Y --from-literal k=1
expect_fail 2 "key 'k' has no value" tidemark create secret x --from-literal k=
expect_fail 2 "is no key of a secret" tidemark create secret x --from-literal "a b=1"
expect_fail 1 "longer than 4096 bytes" tidemark create secret x --from-literal "k=$(printf '%05000d' 1)"
expect_fail 1 "cannot read" tidemark create secret x --from-file "k=$T/nothing"
expect_fail 2 "only secrets are created so" tidemark create backup x
expect_fail 3 "secret/x: not found" tidemark get secret x
expect_fail 3 "secret/x: not found" tidemark delete secret x
tidemark create secret x --from-literal acces_key=1 2>&1 >/dev/null | finds "did you mean 'access_key'" || fail "no suggestion"
expect_out "secret/x deleted" tidemark delete secret x

step "a spec's secret must be there and fit"
s3 one nothing "br: {cluster: test}" >"$T/one.yaml"
expect_fail 2 "backup/one: there is no secret 'nothing'; create it first" tidemark apply -f "$T/one.yaml"
s3 one azure "br: {cluster: test}" >"$T/one.yaml"
expect_fail 2 "secret 'azure' will not do: access_key and secret_key are needed" tidemark apply -f "$T/one.yaml"
s3 own nothing "br: {cluster: test, sendCredToAgents: false}" >"$T/own.yaml"
expect_out "backup/own created" tidemark apply -f "$T/own.yaml"
s3 one s3-secret "br: {cluster: test}" >"$T/one.yaml"
expect_out "backup/one created" tidemark apply -f "$T/one.yaml"
expect_fail 1 "secret/s3-secret: is named by backup/one; delete what names it first, or use --force" tidemark delete secret s3-secret
expect_out backup/one bash -c "'$BUILD/tidemark' get secret s3-secret -o json | jq -r '.usedBy[]'"
tidemark wait backup one --for=Failed --timeout=300s
tidemark wait backup own --for=Failed --timeout=300s
failed_with one secret && fail "$(status one .status.lastError.message)"
nowhere

step "a log backup keeps names, not values, for the agent's next life"
s3 log s3-secret "backupMode: log" "br: {cluster: test}" >"$T/log.yaml"
expect_out "backup/log created" tidemark apply -f "$T/log.yaml" --skip-test
kept() { grep -qa s3-secret "$T/agent/log-jobs"; }
no_driver() { failed_with log "no storage driver"; }
kept_or_not() { kept || no_driver; }
wait_for 30 kept_or_not
sleep 2 # a build without the driver gives the job up at once
if ! no_driver; then
    wait_for 30 kept
    nowhere
    agent_kill
    coordinator_kill TERM
    agent_start
    waits() { grep -q "secret 's3-secret' comes from the coordinator" "$T/agent.log"; }
    wait_for 30 waits
    nowhere files
    coordinator_start
    wait_for 30 node_up
fi
expect_out "access_key secret_key" bash -c "'$BUILD/tidemark' get secret s3-secret -o json | jq -r '.keys | join(\" \")'"

step "deleted though it is named, what needs it says so"
expect_out "secret/s3-secret deleted" tidemark delete secret s3-secret --force
[ ! -e "$T/coordinator/secrets/s3-secret" ] || fail "its file is still there"
expect_out "backup/own deleted" tidemark delete backup own
agent_kill TERM
coordinator_kill TERM

step "what a crash left of a write goes at the next start"
echo half >"$T/coordinator/secrets/azure.tmp-0123456789abcdef"
chown postgres:postgres "$T/coordinator/secrets/"*
coordinator_start
[ ! -e "$T/coordinator/secrets/azure.tmp-0123456789abcdef" ] || fail "the leftover is still there"
expect_out "azure piped" bash -c "'$BUILD/tidemark' get secrets -o json | jq -r '[.items[].metadata.name] | join(\" \")'"
coordinator_kill TERM

step "not over a connection that others can read"
OUT=$(hostname -I 2>/dev/null | awk '{print $1}')
if [ -z "$OUT" ]; then
    OUT=192.0.2.77
    ip addr add "$OUT/32" dev lo || fail "there is no address but loopback"
fi
install -d -o postgres -g postgres -m 700 "$T/keys" "$T/keys/test"
head -c 32 /dev/urandom | base64 >"$T/keys/test/db-a.key"
chmod 600 "$T/keys/test/db-a.key"
chown -R postgres:postgres "$T/keys"
cat >"$T/coordinator.yaml" <<X
listen: tcp://$OUT:$AGENT_PORT
insecure: true
keys_dir: $T/keys
control_socket: $TIDEMARK_CONTROL_SOCKET
state_dir: $T/coordinator
X
sed -i "s|tcp://127.0.0.1|tcp://$OUT|; /^cluster:/i insecure: true\nkey_file: $T/keys/test/db-a.key" "$T/agent.yaml"
spawn "$T/coordinator.log" "$BUILD/tidemark-coordinator" -c "$T/coordinator.yaml"
COORDINATOR_PID=$SPAWNED
wait_for 20 tidemark version
agent_start
wait_for 30 node_up
expect_out "secret/s3-secret created" create s3-secret "$SK"
s3 open s3-secret "br: {cluster: test}" >"$T/open.yaml"
expect_out "backup/open created" tidemark apply -f "$T/open.yaml"
tidemark wait backup open --for=Failed --timeout=120s
failed_with open "secret 's3-secret' is not sent over a connection without TLS: use tls+tcp:// between coordinator and agents, or set br.sendCredToAgents: false" ||
    fail "$(status open .status.lastError)"
expect_out false bash -c "'$BUILD/tidemark' get backup open -o json | jq -r '.status.conditions | any(.reason == \"Leftovers\")'"
expect_out credentials bash -c "'$BUILD/tidemark' get backup open -o json | jq -r .status.lastError.stage"
s3 openlog s3-secret "backupMode: log" "br: {cluster: test}" | sed 's/bucket: bucket/bucket: another/' >"$T/openlog.yaml"
tidemark apply -f "$T/openlog.yaml" --skip-test >/dev/null
refused_log() { failed_with openlog "is not sent over a connection without TLS"; }
wait_for 60 refused_log
nowhere
agent_kill TERM
coordinator_kill TERM

step "encrypted with a key that is handed over; files of before still open, and none is touched without the key"
# SPAWNED under the credentials directory of a unit
keyed_start() { # DIRECTORY
    CREDENTIALS_DIRECTORY=$1 spawn "$T/keyed.log" "$BUILD/tidemark-coordinator" -c "$T/coordinator.yaml"
    COORDINATOR_PID=$SPAWNED
    wait_for 20 tidemark version
}
sealed_with() { head -n 1 "$T/keyed/secrets/$1" | cut -d' ' -f5; }
install -d -o postgres -g postgres -m 700 "$T/credentials" "$T/no-credentials" "$T/keyed" "$T/keyed/secrets"
head -c 32 /dev/urandom >"$T/credentials/tidemark.secrets-key"
chown -R postgres:postgres "$T/credentials"
cp -p "$T/coordinator/secrets/piped" "$T/keyed/secrets/"
cat >"$T/coordinator.yaml" <<X
listen: tcp://127.0.0.1:$AGENT_PORT
control_socket: $TIDEMARK_CONTROL_SOCKET
state_dir: $T/keyed
X
keyed_start "$T/credentials"
grep -q "secrets are stored encrypted with key [0-9a-f]* of credential 'tidemark.secrets-key'" "$T/keyed.log" || fail "it says not how"
grep -q "1 secret was stored before in a weaker form, 'piped' first" "$T/keyed.log" || fail "it says not what is plain"
expect_out plain bash -c "'$BUILD/tidemark' get secret piped -o json | jq -r .file"
expect_out "secret/s3-secret created" create s3-secret "$SK"
expect_out "secret/piped unchanged" tidemark create secret piped --from-literal access_key=a --from-file secret_key=- <<<"$SK"
expect_out "encrypted encrypted" bash -c "'$BUILD/tidemark' get secrets -o json | jq -r '[.items[].file] | join(\" \")'"
expect_out 600 stat -c %a "$T/keyed/secrets/s3-secret"
[ "$(sealed_with piped)" = "$(sealed_with s3-secret)" ] || fail "two keys"
grep -rlaF -e "$SK" "$T/keyed" && fail "it is there in plain"
nowhere files
coordinator_kill TERM
keyed_start "$T/credentials"
expect_out "secret/s3-secret unchanged" create s3-secret "$SK"
coordinator_kill TERM
sums=$(sha256sum "$T/keyed/secrets/"*)
keyed_start "$T/no-credentials"
expect_out "'$T/keyed/secrets/s3-secret': it is encrypted with key $(sealed_with s3-secret) of credential 'tidemark.secrets-key', and there is no such key here" \
    bash -c "'$BUILD/tidemark' get secret s3-secret -o json | jq -r .error"
expect_fail 1 "not stored: secret 'piped' is there encrypted and cannot be opened" create s3-secret "$SK-2"
expect_fail 1 "not stored: secret 'piped' is there encrypted and cannot be opened" create another "$SK"
expect_out "$sums" sha256sum "$T/keyed/secrets/piped" "$T/keyed/secrets/s3-secret"
coordinator_kill TERM
keyed_start "$T/credentials"
expect_out "secret/s3-secret unchanged" create s3-secret "$SK"
coordinator_kill TERM

step "encrypted where systemd-creds has a key, and opened again"
if ! systemd-creds --version >/dev/null 2>&1; then
    echo "no systemd-creds here: not tried"
    exit 0
fi
HOST_KEY=/var/lib/systemd/credential.secret
had_key=$(test -e "$HOST_KEY" && echo yes || true)
rm -rf "$T/root" && install -d -m 700 "$T/root"
cat >"$T/coordinator.yaml" <<X
listen: tcp://127.0.0.1:$AGENT_PORT
control_socket: $TIDEMARK_CONTROL_SOCKET
state_dir: $T/root
X
as_root() {
    "$BUILD/tidemark-coordinator" -c "$T/coordinator.yaml" >>"$T/root.log" 2>&1 &
    COORDINATOR_PID=$!
    echo "$COORDINATOR_PID" >>"$T/pids"
    wait_for 30 tidemark version
}
as_root
grep -q "secrets are stored encrypted" "$T/root.log" || fail "$(cat "$T/root.log")"
expect_out "secret/s3-secret created" create s3-secret "$SK"
expect_out encrypted bash -c "'$BUILD/tidemark' get secret s3-secret -o json | jq -r .file"
expect_out 600 stat -c %a "$T/root/secrets/s3-secret"
grep -rlaF -e "$SK" "$T/root" && fail "it is there in plain"
coordinator_kill TERM
as_root
expect_out "secret/s3-secret unchanged" create s3-secret "$SK"
expect_out 'null' bash -c "'$BUILD/tidemark' get secret s3-secret -o json | jq .error"
coordinator_kill TERM
cp "$T/root/secrets/s3-secret" "$T/root/secrets/renamed"
as_root
expect_out true bash -c "'$BUILD/tidemark' get secret renamed -o json | jq '.error != null'"
grep -q "secret 'renamed' cannot be read" "$T/root.log" || fail "$(cat "$T/root.log")"
expect_out "secret/renamed deleted" tidemark delete secret renamed
coordinator_kill TERM

step "the key of the coordinator's own is made once, and opened every time"
# what tidemark-secrets-key.service runs
make_key() { CONFIGURATION_DIRECTORY=$T/kept RUNTIME_DIRECTORY=$T/handed "$TOP/systemd/secrets-key.sh"; }
KEY=tidemark.secrets-key
install -d -m 700 "$T/kept" "$T/handed"
expect_out "made a key for secrets, sealed with this host's: '$T/kept/$KEY'" make_key
expect_out "$KEY" ls -A "$T/kept"
expect_out "$KEY.checked" ls -A "$T/handed"
expect_out "600 600" bash -c "stat -c %a '$T/kept/$KEY' '$T/handed/$KEY.checked' | paste -sd' '"
expect_out 32 bash -c "systemd-creds decrypt --name=$KEY '$T/handed/$KEY.checked' - | wc -c"
sum=$(sha256sum <"$T/kept/$KEY")
make_key
expect_out "$sum" bash -c "sha256sum <'$T/kept/$KEY'"
cmp "$T/kept/$KEY" "$T/handed/$KEY.checked" || fail "another is handed over"
# one that cannot be opened is kept, and not handed over
echo bm90aGluZw== >"$T/kept/$KEY"
expect_fail 1 "this host cannot open the key '$T/kept/$KEY'" make_key
expect_out bm90aGluZw== cat "$T/kept/$KEY"
expect_out "" ls -A "$T/handed"
# nor does one come to be where sealing does not work
rm "$T/kept/$KEY"
install -d "$T/bin"
printf '#!/bin/sh\necho no key here >&2\nexit 1\n' >"$T/bin/systemd-creds"
chmod 755 "$T/bin/systemd-creds"
make_no_key() { PATH=$T/bin:$PATH make_key; }
expect_fail 1 "cannot seal a key with this host's" make_no_key
expect_out "" ls -A "$T/kept"
expect_out "" ls -A "$T/handed"
[ -n "$had_key" ] || rm -f "$HOST_KEY"
