#!/usr/bin/env bash
# TLS with certificates on both sides, and a key for the node: what gets in, what does not, and with which
# words. The null engine, no database.
. "$(dirname "$0")/../lib/harness.sh"

P=$T/pki
install -d -o postgres -g postgres -m 700 "$P" "$P/keys" "$P/keys/test"
authority() { # NAME
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" \
        -keyout "$P/$1.key" -out "$P/$1.pem" 2>/dev/null
}
certificate() { # CA NAME HOST: NAME.both.pem with certificate and key
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$3" -keyout "$P/$2.key" -out "$P/$2.csr" 2>/dev/null
    openssl x509 -req -in "$P/$2.csr" -CA "$P/$1.pem" -CAkey "$P/$1.key" -CAcreateserial -days 2 \
        -extfile <(printf 'subjectAltName=DNS:%s' "$3") -out "$P/$2.pem" 2>/dev/null
    cat "$P/$2.pem" "$P/$2.key" >"$P/$2.both.pem"
}
authority ours
authority theirs
certificate ours coordinator coordinator.test
certificate ours db-a db-a.test
certificate theirs stranger db-a.test
certificate theirs impostor coordinator.test
head -c 32 /dev/urandom | base64 >"$P/keys/test/db-a.key"
cp "$P/keys/test/db-a.key" "$P/node.key"
head -c 32 /dev/urandom | base64 >"$P/wrong.key"
chmod 600 "$P"/*.key "$P"/keys/test/*
chown -R postgres:postgres "$P"

coordinator_tls() { # CERTIFICATE
    install -d -o postgres -g postgres -m 700 "$T/coordinator"
    cat >"$T/coordinator.yaml" <<X
listen: tls+tcp://127.0.0.1:$AGENT_PORT
tls: {ca: $P/ours.pem, cert: $P/$1.both.pem}
keys_dir: $P/keys
control_socket: $TIDEMARK_CONTROL_SOCKET
state_dir: $T/coordinator
X
    spawn "$T/coordinator.log" "$BUILD/tidemark-coordinator" -c "$T/coordinator.yaml"
    COORDINATOR_PID=$SPAWNED
    wait_for 20 tidemark version
}
fresh_log() { # what was said before is kept: a sanitizer's words would fail the test at the end
    [ ! -e "$T/agent.log" ] || mv "$T/agent.log" "$T/agent-$((++LOGS)).log"
}
LOGS=0
agent_tls() { # CERTIFICATE KEY SERVER_NAME
    install -d -o postgres -g postgres -m 700 "$T/agent"
    fresh_log
    cat >"$T/agent.yaml" <<X
coordinators: [tls+tcp://127.0.0.1:$AGENT_PORT]
tls: {ca: $P/ours.pem, cert: $P/$1.both.pem, server_name: $3}
${2:+key_file: $2}
cluster: test
node: db-a
state_dir: $T/agent
instances: [{tenant: main, engine: "null", data_dir: $T/data, conninfo: "files=20"}]
restore_roots: [$T/restore]
X
    spawn "$T/agent.log" "$BUILD/tidemark-agent" -c "$T/agent.yaml"
    AGENT_PID=$SPAWNED
}
refused() { # TEXT: the agent says it and is not let in
    said() { grep -q "$1" "$T/agent.log"; }
    wait_for 20 said "$1"
    tidemark nodes | finds "db-a *up" && fail "it was let in"
    agent_kill TERM
}

step "the right certificates and key"
coordinator_tls coordinator
agent_tls db-a "$P/node.key" coordinator.test
wait_for 20 node_is primary
install -d -o postgres -g postgres "$T/repo"
printf 'apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: one}\nspec:\n  br: {cluster: test}\n  local: {path: %s}\n' "$T/repo" >"$T/one.yaml"
tidemark apply -f "$T/one.yaml" >/dev/null
tidemark wait backup one --for=Complete --timeout=120s
agent_kill TERM
node_gone() { ! tidemark nodes | finds "db-a *up"; }
wait_for 40 node_gone

step "a certificate of another authority"
agent_tls stranger "$P/node.key" coordinator.test
refused "cannot connect to the coordinator"

step "the coordinator's certificate does not carry the name"
agent_tls db-a "$P/node.key" another.test
refused "Cryptographic error"

step "a wrong key"
agent_tls db-a "$P/wrong.key" coordinator.test
refused "hello to 'tls+tcp://127.0.0.1:$AGENT_PORT'"
grep -q "refused: .*(test/db-a)" "$T/coordinator.log" || fail "the coordinator does not say whom it refused"

step "no key where the coordinator has one"
agent_tls db-a "" coordinator.test
refused "hello to 'tls+tcp://127.0.0.1:$AGENT_PORT'"

step "plain tcp to a TLS port"
agent_tls db-a "$P/node.key" coordinator.test
agent_kill TERM
fresh_log
sed -i "s|tls+tcp|tcp|" "$T/agent.yaml"
spawn "$T/agent.log" "$BUILD/tidemark-agent" -c "$T/agent.yaml"
AGENT_PID=$SPAWNED
refused "cannot connect to the coordinator"

step "a coordinator with a certificate of another authority"
coordinator_kill TERM
coordinator_tls impostor
agent_tls db-a "$P/node.key" coordinator.test
refused "Cryptographic error"

step "the right ones again"
coordinator_kill TERM
coordinator_tls coordinator
agent_tls db-a "$P/node.key" coordinator.test
wait_for 20 node_is primary
daemons_stop
