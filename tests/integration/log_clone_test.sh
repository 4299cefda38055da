#!/usr/bin/env bash
# Servers that say to be the same: a primary that comes back after its standby was promoted, and a clone that was started
# on its own, with the system identifier and the timeline of its source. Their logs never mix, and people are told.
#
#   log_clone_test.sh [MAJOR…]     default: 15
. "$(dirname "$0")/../lib/harness.sh"
. "$(dirname "$0")/../lib/nodes.sh"

warned() { of_wal '.status.warnings // [] | .[]' | finds -F "$1"; }
writes() { # N: to that server only
    ledger_start "$1" 2
    sleep 0.4
    ledger_stop
}
is_reaped() { ! kill -0 "$1"; } # before that, it is still there for a server that looks whose lock file it finds
lineages() { find "$T/repo" -name lineage.mpk | wc -l; }
latest_is() { # N
    expect_out "$(ledger_sum "$(port_of "$1")")" restore_to latest
}

one_version() {
    local first clone second
    cluster_make "$1" 1
    cluster_daemons 1
    tidemark log start wal --cluster test --storage "file://$T/repo" --flush-interval 1s >/dev/null
    tidemark backup full --cluster test --storage "file://$T/repo" >/dev/null
    writes 1
    first=$(of_wal .status.lineage)

    step "$1: a clone is started on its own, under another node: the lead stays, and it is told"
    copy_make 1 3
    writes 1
    wait_safe 1
    server_start 3
    agent_on 3
    wait_for 20 warned "nodes 'db-1' and 'db-3' both say to be primary; the log is taken from 'db-1'"
    writes 3
    writes 1
    wait_safe 1
    [ "$(of_wal .status.lineage)" = "$first" ] || fail "another lineage: $(of_wal .status)"
    latest_is 1

    # more than a segment ahead of the clone: it cannot be asked for those bytes
    on 1 sql postgres -c "select pg_switch_wal()" >/dev/null
    writes 1
    on 1 sql postgres -c "select pg_switch_wal()" >/dev/null
    writes 1
    wait_safe 1

    step "$1: the agent of the first is gone: the clone's log gets a lineage of its own, and a full backup is asked for"
    agent_off 1
    wait_for 30 leads 3
    wait_safe 3
    clone=$(of_wal .status.lineage)
    [ "$clone" != "$first" ] || fail "the clone's log is taken for that of its source"
    wait_for 20 warned "full backup"
    [ "$(lineages)" = 2 ] || fail "$(lineages) lineages"
    writes 1 # nobody stores this now; its server holds it

    step "$1: the first one is back, the clone gone: its log goes on where it stood"
    agent_on 1
    agent_off 3
    wait_for 30 leads 1
    writes 1
    wait_safe 1
    [ "$(of_wal .status.lineage)" = "$first" ] || fail "another lineage: $(of_wal .status)"
    [ "$(lineages)" = 2 ] || fail "$(lineages) lineages"
    latest_is 1
    [ "$(agent_list | jq -r '.recoverable | map("\(.lineage) \(.abandoned)") | join("; ")')" = "$first false" ] || fail "list: $(agent_list)"

    step "$1: the clone under the same node: told, and not mixed"
    writes 3
    agent_off 1
    server_stop 1
    sed -i "s|data_dir: .*|data_dir: $(data_of 3)|; s/port=$(port_of 1) /port=$(port_of 3) /" "$T/agent-1.yaml"
    spawn "$T/agent-1.log" "$BUILD/tidemark-agent" -c "$T/agent-1.yaml"
    AGENTS[1]=$SPAWNED
    wait_for 30 leads 1
    wait_safe 3
    second=$(of_wal .status.lineage)
    [ "$second" != "$first" ] || fail "the clone's log is taken for that of its source"
    [ "$second" = "$clone" ] || fail "the clone's lineage is $second instead of $clone"
    cluster_clear
}
two_primaries() {
    local first second
    cluster_make "$1" 2
    cluster_daemons 2
    tidemark log start wal --cluster test --storage "file://$T/repo" --flush-interval 1s >/dev/null
    tidemark backup full --cluster test --storage "file://$T/repo" >/dev/null
    writes 1
    wait_safe 1
    first=$(of_wal .status.lineage)

    step "$1: the primary is lost and comes back behind the promotion of its standby: two primaries"
    server_dies 1
    promote 2
    wait_for 30 leads 2
    writes 2
    wait_for 30 is_reaped "$(head -n 1 "$(data_of 1)/postmaster.pid")"
    rm -f "$(data_of 1)/postmaster.pid"
    server_start 1
    wait_for 20 warned "nodes 'db-2' and 'db-1' both say to be primary; the log is taken from 'db-2'"
    writes 1
    writes 2
    wait_safe 2
    second=$(of_wal .status.lineage)
    [ "$second" != "$first" ] || fail "the branch is the same"
    latest_is 2

    step "$1: the promoted one is lost: the old primary's log goes on where it was left, by name both are had"
    local had
    had=$(ledger_sum "$(port_of 2)")
    host_dies 2
    wait_for 30 leads 1
    writes 1
    wait_safe 1
    [ "$(of_wal .status.lineage)" = "$first" ] || fail "the lineage is $(of_wal .status.lineage) instead of $first"
    latest_is 1
    expect_out "$had" restore_to latest --lineage "$second"
    [ "$(agent_list | jq -r '.recoverable | sort_by(.lineageLabel) | map("\(.lineage) \(.abandoned)") | join("; ")')" = "$first false; $second true" ] ||
        fail "list: $(agent_list)"
    cluster_clear
}
for major in "${@:-15}"; do
    one_version "$major"
    two_primaries "$major"
done
