#!/usr/bin/env bash
# Timelines that are hard to tell apart: two standbys of one primary, promoted one after the other, are both on timeline 2;
# and timelines of which no log was stored. Each branch is restored by its own history, onto a timeline that nobody has.
#
#   log_timelines_test.sh [MAJOR…]     default: 15
. "$(dirname "$0")/../lib/harness.sh"
. "$(dirname "$0")/../lib/nodes.sh"

writes() { # N
    ledger_start "$1" 2
    sleep 0.4
    ledger_stop
}
branch_is() { # LINEAGE SUM TIMELINE
    restore_begin latest --lineage "$1"
    [ "$(ledger_sum "$RESTORED_PORT")" = "$2" ] || fail "$1 holds '$(ledger_sum "$RESTORED_PORT")' instead of '$2'"
    [ "$(restored_timeline)" = "$3" ] || fail "$1 is restored on timeline $(restored_timeline)"
    restore_end
}
cut_off() { [ "$(on 3 sql postgres -c "select count(*) from pg_stat_wal_receiver")" = 0 ]; }
abandoned() { agent_list | jq -r '.recoverable | sort_by(.lineageLabel) | map(select(.abandoned) | .lineage) | sort | join(" ")'; }

one_version() {
    local first second third of_first of_second of_third
    cluster_make "$1" 3
    cluster_daemons 3
    tidemark log start wal --cluster test --storage "file://$T/repo" --flush-interval 1s >/dev/null
    tidemark backup full --cluster test --storage "file://$T/repo" >/dev/null
    writes 1
    on 3 sql postgres -c "alter system set primary_conninfo = ''" -c "select pg_reload_conf()" >/dev/null
    wait_for 10 cut_off
    writes 1
    wait_safe 1
    first=$(of_wal .status.lineage)
    of_first=$(ledger_sum "$(port_of 1)")

    step "$1: two standbys are promoted, one after the other: both are on timeline 2"
    wait_for 10 caught_up
    host_dies 1
    promote 2
    wait_for 30 leads 2
    writes 2
    wait_safe 2
    second=$(of_wal .status.lineage)
    of_second=$(ledger_sum "$(port_of 2)")
    host_dies 2
    promote 3
    wait_for 30 leads 3
    writes 3
    wait_safe 3
    third=$(of_wal .status.lineage)
    of_third=$(ledger_sum "$(port_of 3)")
    [ "$(agent_list | jq -r '.recoverable | map(select(.abandoned | not) | "\(.lineage) \(.lineageLabel)") | join(" ")')" = "$third 2" ] || fail "list: $(agent_list)"
    [ "$(abandoned)" = "$(printf '%s\n%s\n' "$first" "$second" | sort | xargs)" ] || fail "list: $(agent_list)"
    branch_is "$third" "$of_third" 3
    branch_is "$second" "$of_second" 3
    branch_is "$first" "$of_first" 3

    step "$1: timeline 3 passes without an agent: its log is stored all the same, and its number is taken"
    agent_off 3
    local n
    for n in 3 4; do
        server_stop 3
        as_postgres touch "$(data_of 3)/standby.signal"
        server_start 3
        promote 3
        writes 3
    done
    writes 3
    agent_on 3
    wait_for 30 another_lineage "$third"
    wait_safe 3
    [ "$(agent_list | jq -r '.recoverable | map(select(.abandoned | not) | .lineageLabel) | join(" ")')" = 4 ] || fail "list: $(agent_list)"
    branch_is "$third" "$of_third" 5
    branch_is "$(of_wal .status.lineage)" "$(ledger_sum "$(port_of 3)")" 5
    restore_begin latest
    [ "$(ledger_sum "$RESTORED_PORT")" = "$(ledger_sum "$(port_of 3)")" ] || fail "latest is '$(ledger_sum "$RESTORED_PORT")'"
    restore_end
    cluster_clear
}
caught_up() { [ "$(ledger_sum "$(port_of 2)")" = "$(ledger_sum "$(port_of 1)")" ]; }
another_lineage() { [ "$(of_wal .status.lineage)" != "$1" ] && leads 3; }
for major in "${@:-15}"; do one_version "$major"; done
