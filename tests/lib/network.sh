# shellcheck shell=bash
# Sourced behind harness.sh and nodes.sh: a network of its own for each agent, that can be cut.
#
#   network_make COUNT            for agents 1 to COUNT; before coordinator_start and agent_on; made already, it stays
#   network_cut N · network_mend N
#   network_lines N               $NETWORK_LINES is what agent_on needs: agent_on N "${NETWORK_LINES[@]}"
#
# A namespace each, with a pair of interfaces that leads to the coordinator alone; the server is reached by its UNIX
# socket, which lies in the file system. Where namespaces cannot be made, or TIDEMARK_TEST_NETNS=0, it is a forwarder on
# loopback, and cut by stopping it. Off loopback nodes need keys.
NETWORK_LINES=()
FORWARDERS=()

network_address() { # OFFSET
    local a=$((NETWORK_BASE + $1))
    echo "$((a >> 24)).$((a >> 16 & 255)).$((a >> 8 & 255)).$((a & 255))"
}
# 16 addresses of 198.18.0.0/15, which is for tests
network_base() {
    local n=$(($$ % 8192))
    NETWORK_BASE=$(((198 << 24) + (18 << 16) + n * 16))
    while ip -o -4 addr | grep -qF " $(network_address 1)/"; do
        n=$(((n + 1) % 8192))
        NETWORK_BASE=$(((198 << 24) + (18 << 16) + n * 16))
    done
}
namespace_make() { # N
    local name=tm$$-$1 here=tm$$h$1 at=$((($1 - 1) * 4))
    ip netns add "$name" || return 1
    echo "$name" >>"$T/.networks"
    ip link add "$here" type veth peer name eth0 netns "$name" || return 1
    ip addr add "$(network_address $((at + 1)))/30" dev "$here"
    ip link set "$here" up
    ip -n "$name" addr add "$(network_address $((at + 2)))/30" dev eth0
    ip -n "$name" link set lo up
    ip -n "$name" link set eth0 up
    nsenter "--net=/run/netns/$name" true || return 1
    NETWORKS[$1]=$name
    COORDINATOR_URLS[$1]=tcp://$(network_address $((at + 1))):$AGENT_PORT
}
namespaces_make() { # COUNT
    local n
    [ "${TIDEMARK_TEST_NETNS:-1}" != 0 ] && [ "$(id -u)" = 0 ] && command -v ip >/dev/null && command -v nsenter >/dev/null || return 1
    network_base
    for ((n = 1; n <= $1; n++)); do namespace_make "$n" || return 1; done
}
forwarders_make() { # COUNT
    local n
    for ((n = 1; n <= $1; n++)); do
        python3 "$TOP/tests/lib/forwarder.py" "$AGENT_PORT" >"$T/run/forwarder-$n" &
        FORWARDERS[$n]=$!
        echo "$!" >>"$T/pids"
        wait_for 20 test -s "$T/run/forwarder-$n"
        COORDINATOR_URLS[$n]=tcp://127.0.0.1:$(cat "$T/run/forwarder-$n")
    done
}
network_make() { # COUNT
    local n
    [ "${#COORDINATOR_URLS[@]}" -lt "$1" ] || return 0
    install -d -o postgres -g postgres -m 700 "$T/keys" "$T/keys/test"
    for ((n = 1; n <= $1; n++)); do
        head -c 32 /dev/urandom | base64 >"$T/keys/test/db-$n.key"
        chmod 600 "$T/keys/test/db-$n.key"
    done
    chown -R postgres:postgres "$T/keys"
    if namespaces_make "$1" 2>"$T/run/network.log"; then
        COORDINATOR_LISTEN=tcp://0.0.0.0:$AGENT_PORT
        COORDINATOR_MORE="insecure: true
keys_dir: $T/keys"
    else
        echo "   no network namespaces ($(tail -n 1 "$T/run/network.log")): an agent's network is a forwarder, cut by stopping it"
        NETWORKS=()
        COORDINATOR_MORE="keys_dir: $T/keys"
        forwarders_make "$1"
    fi
}
network_lines() { # N
    NETWORK_LINES=("key_file: $T/keys/test/db-$1.key")
    [ -z "${NETWORKS[$1]:-}" ] || NETWORK_LINES+=("insecure: true")
}
network_cut() { # N
    if [ -n "${NETWORKS[$1]:-}" ]; then ip -n "${NETWORKS[$1]}" link set eth0 down; else kill -STOP "${FORWARDERS[$1]}"; fi
}
network_mend() { # N
    if [ -n "${NETWORKS[$1]:-}" ]; then ip -n "${NETWORKS[$1]}" link set eth0 up; else kill -CONT "${FORWARDERS[$1]}"; fi
}
