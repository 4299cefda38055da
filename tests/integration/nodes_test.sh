#!/usr/bin/env bash
# One snapshot read by many nodes: a primary and two streaming standbys, an agent beside each, clients writing all the
# time. Standbys read what backupFrom lets them; who is lost, stalled, late or promoted in the middle costs its ranges,
# and what is restored is whole.
#
#   nodes_test.sh [MAJOR…]     default: 15
. "$(dirname "$0")/../lib/harness.sh"
. "$(dirname "$0")/../lib/nodes.sh"

apply() { # NAME FROM RATE [MORE YAML LINES…]
    local name=$1 from=$2 rate=$3
    shift 3
    {
        printf 'apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: %s}\nspec:\n  local: {path: %s}\n' "$name" "$T/repo"
        printf '  %s\n' "br: {cluster: test, concurrency: 2, rateLimit: $rate}" "rangeSize: ${RANGE:-8MiB}" "backupFrom: $from" "$@"
    } >"$T/$name-spec.yaml"
    expect_out "backup/$name created" tidemark apply -f "$T/$name-spec.yaml"
}
status() { tidemark get backup "$1" -o json | jq -r "$2"; }
ranges_of() { status "$1" "[.status.nodes[]? | select(.node == \"db-$2\") | .ranges] | add // 0"; }
bytes_of() { status "$1" "[.status.nodes[]? | select(.node == \"db-$2\") | .bytes] | add // 0"; }
has_read() { [ "$(ranges_of "$1" "$2")" -ge "${3:-1}" ]; }
complete() { # NAME: Complete, all of it accounted for
    tidemark wait backup "$1" --for=Complete --timeout=180s
    expect_out "$(status "$1" .status.progress.rangesTotal)" status "$1" '[.status.nodes[].ranges] | add'
}
restores() { # NAME
    local id
    id=$(basename "$(status "$1" .status.backupPath)")
    restore_begin immediate --backup "$id"
    PGPORT=$RESTORED_PORT "$(bindir "$MAJOR_OF_NODES")/pg_amcheck" -h "$T/run" -U postgres --heapallindexed --parent-check \
        --install-missing -a >"$T/amcheck.log" 2>&1 || fail "pg_amcheck: $(cat "$T/amcheck.log")"
    PGPORT=$RESTORED_PORT sql postgres -c "select 1 from (select sum(abalance) s from pgbench_accounts) a,
        (select sum(bbalance) s from pgbench_branches) b, (select sum(delta) s from pgbench_history) h
        where a.s = b.s and a.s = h.s" | grep -qx 1 || fail "the sums of pgbench differ"
    restore_end
}

one_major() {
    cluster_make "$1" 3
    pgbench -i -q -s 12 postgres >/dev/null 2>&1
    sql postgres -c checkpoint
    cluster_daemons 3
    (while [ ! -e "$T/quiet" ]; do on 1 pgbench -n -c 2 -T 2 postgres >/dev/null 2>&1 || true; done) &
    load=$!
    echo "$load" >>"$T/pids"

    step "$1: standbys first: the primary reads only what nobody else may"
    apply gentle prefer-standby 50
    complete gentle
    has_read gentle 2 3 && has_read gentle 3 3 || fail "shares: $(status gentle .status.nodes)"
    [ "$(($(bytes_of gentle 1) * 10))" -lt "$(($(bytes_of gentle 2) + $(bytes_of gentle 3)))" ] ||
        fail "the primary's share: $(status gentle .status.nodes)"
    restores gentle

    step "$1: any: whoever is quick"
    apply quick any 30
    complete quick
    has_read quick 1 3 && has_read quick 2 1 && has_read quick 3 1 || fail "shares: $(status quick .status.nodes)"
    restores quick

    step "$1: primary: standbys take no part"
    apply alone primary 100
    complete alone
    expect_out "db-1" status alone '[.status.nodes[].node] | join(" ")'

    step "$1: any, but the primary's agent is limited to 5 MB/s: the standbys do nearly all"
    agent_off 1
    agent_on 1 "rate_limit: 5MB"
    wait_for 20 nodes_are 3
    RANGE=2MiB apply spared any 100 # what an agent has taken ahead of its workers is its share, however slow it is
    complete spared
    echo "   bytes by node: $(status spared '[.status.nodes[] | "\(.node) \(.bytes)"] | join(", ")')"
    [ "$(($(bytes_of spared 1) * 5))" -lt "$(($(bytes_of spared 1) + $(bytes_of spared 2) + $(bytes_of spared 3)))" ] ||
        fail "the primary's share: $(status spared .status.nodes)"
    restores spared
    agent_off 1
    agent_on 1
    wait_for 20 nodes_are 3

    step "$1: the agent of a standby is killed, another one's is stopped in the middle: their ranges are leased anew"
    apply lost prefer-standby 8
    wait_for 60 has_read lost 2 2
    agent_off 2 KILL
    kill -STOP "${AGENTS[3]}"
    pkill -STOP -P "${AGENTS[3]}" || true
    complete lost
    has_read lost 1 3 || fail "shares: $(status lost .status.nodes)"
    kill -CONT "${AGENTS[3]}"
    restores lost
    agent_on 2
    wait_for 20 nodes_are 3

    step "$1: a standby that lags takes none of it until it has caught up; one that is promoted is left out"
    on 2 sql postgres -c "select pg_wal_replay_pause()" >/dev/null
    apply late prefer-standby 8
    wait_for 60 has_read late 3 1
    expect_out 0 ranges_of late 2
    promote 3
    on 2 sql postgres -c "select pg_wal_replay_resume()" >/dev/null
    wait_for 60 has_read late 2 1
    complete late
    restores late
    touch "$T/quiet"
    wait "$load"
    rm "$T/quiet"
    cluster_clear
}

for major in "${@:-15}"; do one_major "$major"; done
