# shellcheck shell=bash
# Sourced behind what starts processes (tests/lib/harness.sh, tests/bench/lib.sh): a coordinator with fleets of agents
# (tests/bench/fleet) in processes of their own, each agent with a key.
#
#   fleet_keys DIR CLUSTER N          keys that coordinator and fleet share
#   fleet_start NAME CLUSTER N [option of fleet…]   in as many processes as it takes, their pids in ${FLEETS[NAME]}
#   fleet_stop NAME                   false: something was not as it must be; figures are there from now on
#   fleet_sum NAME FIELD              of the figures of all its processes
#   fleet_heartbeats NAME             p50, p99 and the longest, in words
#   fleet_backup NAME CLUSTER FROM    a backup of that cluster, backupFrom: FROM
#
# FLEET_DIR, FLEET_URL and `tidemark` are the caller's.
declare -A FLEETS=()
FLEET_EACH=50 # agents of one process
FLEET=${FLEET:-$BUILD/tests/bench/fleet/fleet}

fleet_keys() {
    local at
    install -d -m 700 "$1" "$1/$2"
    for ((at = 0; at < $3; at++)); do
        printf '%032d' "$((RANDOM * 32768 + RANDOM))" >"$(printf '%s/%s/node-%04d.key' "$1" "$2" "$at")"
    done
    chmod 600 "$1/$2"/*
}
fleet_start() {
    local name=$1 cluster=$2 all=$3 first
    shift 3
    install -d -o postgres "$FLEET_DIR/$name.fleet"
    for ((first = 0; first < all; first += FLEET_EACH)); do
        setpriv --reuid=postgres --regid=postgres --init-groups "$FLEET" --url "$FLEET_URL" --cluster "$cluster" \
            --first "$first" --agents "$((all - first < FLEET_EACH ? all - first : FLEET_EACH))" --all "$all" \
            --samples "$FLEET_DIR/$name.fleet/$first.us" "$@" \
            >"$FLEET_DIR/$name.fleet/$first.json" 2>"$FLEET_DIR/$name-$first.log" &
        FLEETS[$name]+=" $!"
    done
}
fleet_stop() {
    local pid status=0 of=${FLEETS[$1]}
    unset "FLEETS[$1]"
    # shellcheck disable=SC2086 # pids
    kill -TERM $of
    for pid in $of; do wait "$pid" || status=$?; done
    return "$status"
}
fleet_sum() { cat "$FLEET_DIR/$1.fleet"/*.json | jq -s "map(.$2) | add"; }
fleet_heartbeats() {
    sort -n "$FLEET_DIR/$1.fleet"/*.us | awk '{v[NR] = $1} END {printf "p50 %.1f ms, p99 %.1f ms, max %.1f ms (%d)",
        v[int((NR + 1) / 2)] / 1000, v[int(NR * 0.99 + 0.5)] / 1000, v[NR] / 1000, NR}'
}
fleet_backup() {
    printf 'apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: %s}\nspec:\n  local: {path: /srv/nowhere}\n  br: {cluster: %s}\n  backupFrom: %s\n' \
        "$1" "$2" "$3"
}
