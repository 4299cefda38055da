# shellcheck shell=bash
# Sourced behind what starts processes (tests/lib/harness.sh, tests/bench/lib.sh): a coordinator with fleets of agents
# (tests/bench/fleet) in processes of their own, each agent with a key.
#
#   fleet_keys DIR CLUSTER N          keys that coordinator and fleet share
#   fleet_start NAME CLUSTER N [option of fleet…]   its pid in ${FLEETS[NAME]}, its figures in $FLEET_DIR/NAME.json at its end
#   fleet_stop NAME                   false: something was not as it must be
#   fleet_figure NAME JQ              of the figures
#   fleet_backup NAME CLUSTER FROM    a backup of that cluster, backupFrom: FROM
#
# FLEET_DIR, FLEET_URL and `tidemark` are the caller's.
declare -A FLEETS=()
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
    local name=$1 cluster=$2 count=$3
    shift 3
    setpriv --reuid=postgres --regid=postgres --init-groups "$FLEET" --url "$FLEET_URL" --cluster "$cluster" --agents "$count" "$@" \
        >"$FLEET_DIR/$name.json" 2>"$FLEET_DIR/$name.log" &
    FLEETS[$name]=$!
}
fleet_stop() {
    local pid=${FLEETS[$1]}
    unset "FLEETS[$1]"
    kill -TERM "$pid"
    wait "$pid"
}
fleet_figure() { jq -r "$2" "$FLEET_DIR/$1.json"; }
fleet_backup() {
    printf 'apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: %s}\nspec:\n  local: {path: /srv/nowhere}\n  br: {cluster: %s}\n  backupFrom: %s\n' \
        "$1" "$2" "$3"
}
