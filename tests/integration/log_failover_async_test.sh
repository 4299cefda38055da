#!/usr/bin/env bash
# A failover that loses a tail: the standby lags behind what is already stored. Exactly that tail is shown as abandoned,
# the main branch lacks it, and whoever names the old lineage still has it.
#
#   log_failover_async_test.sh [MAJOR…]     default: 15
. "$(dirname "$0")/../lib/harness.sh"
. "$(dirname "$0")/../lib/nodes.sh"

intervals() { jq -r '.recoverable | map(.label //= .lineageLabel) | sort_by(.label) | map("\(.label) \(.abandoned) \(.fromPosition) \(.lineage)") | join("; ")'; }
told_by_status() { [ "$(of_wal .status | intervals)" = "$1" ]; }

one_version() {
    local parent child fork got behind middle tail common full want
    cluster_make "$1" 2
    cluster_daemons 2
    tidemark log start wal --cluster test --storage "file://$T/repo" --flush-interval 1s >/dev/null
    tidemark backup full --cluster test --storage "file://$T/repo" >/dev/null
    full=$(tidemark get backup full -o json | jq -r .status.commitPosition)
    ledger_start 1 2
    sleep 1
    ledger_stop
    parent=$(of_wal .status.lineage)

    step "$1: the standby is cut off, the log is stored on"
    on 2 sql postgres -c "alter system set primary_conninfo = ''" -c "select pg_reload_conf()" >/dev/null
    wait_for 10 cut_off
    common=$(ledger_sum "$(port_of 2)")
    ledger_start 1 2
    sleep 1
    ledger_stop
    middle=$(now_of 1)
    behind=$(ledger_sum "$(port_of 1)")
    [ "$behind" != "$common" ] || fail "the standby is not behind"
    ledger_start 1 2
    sleep 1
    ledger_stop
    tail=$(ledger_sum "$(port_of 1)")
    wait_safe 1
    host_dies 1
    promote 2
    wait_for 30 leads 2
    [ "$(ledger_sum "$(port_of 2)")" = "$common" ] || fail "the standby has more than it received"
    ledger_start 2 2
    sleep 1
    ledger_stop
    wait_safe 2
    child=$(of_wal .status.lineage)
    [ "$child" != "$parent" ] || fail "the branch is the same"
    fork=$(awk '$1 == 1 {print $2}' "$(data_of 2)/pg_wal/00000002.history")

    step "$1: exactly what lies behind $fork is abandoned"
    want="1 true $fork $parent; 2 false $full $child"
    [ "$full" != null ] || want="1 true $fork $parent; 2 false $(agent_list | jq -r '.backups[0].position') $child"
    got=$(agent_list | intervals)
    [ "$got" = "$want" ] || fail "list tells '$got' instead of '$want'"
    wait_for 70 told_by_status "$want"
    as_postgres "$BUILD/tidemark-agent" list --storage "file://$T/repo" | finds "$parent.*abandoned" || fail "the table says nothing"

    step "$1: the main branch lacks it, the old one has it"
    expect_out "$(ledger_sum "$(port_of 2)")" restore_to latest
    expect_out "$common" restore_to "time:$middle"
    expect_out "$behind" restore_to "time:$middle" --lineage "$parent"
    restore_begin latest --lineage "$parent"
    [ "$(ledger_sum "$RESTORED_PORT")" = "$tail" ] || fail "the tail is '$(ledger_sum "$RESTORED_PORT")' instead of '$tail'"
    [ "$(restored_timeline)" = 3 ] || fail "the tail is on timeline $(restored_timeline)"
    restore_end
    expect_fail 3 "$(date -u -d '1 hour' +%FT%H)" as_postgres "$BUILD/tidemark-agent" restore -q --storage "file://$T/repo" \
        --cluster test --data-dir "$T/restore/never" --to "$(date -u -d '1 hour' +%FT%TZ)" --lineage "$parent"
    cluster_clear
}
cut_off() { [ "$(on 2 sql postgres -c "select count(*) from pg_stat_wal_receiver")" = 0 ]; }
for major in "${@:-15}"; do one_version "$major"; done
