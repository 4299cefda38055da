#!/usr/bin/env bash
# A failover that loses nothing: the standby is synchronous, the primary is killed under load and its disk is gone.
# Every row that was acknowledged is in storage; moments before and behind the fork are what they were; a restored
# server takes a timeline that nobody has.
#
#   log_failover_sync_test.sh [MAJOR…]     default: 15
. "$(dirname "$0")/../lib/harness.sh"
. "$(dirname "$0")/../lib/nodes.sh"

# names what is now, and what the ledger holds: nobody writes to it
moment() { # N NAME
    local port xid
    port=$(port_of "$1")
    on "$1" sql postgres -c "select pg_create_restore_point('$2')" >/dev/null
    WANT+=("name:$2 $(ledger_sum "$port")")
    WANT+=("time:$(now_of "$1") $(ledger_sum "$port")")
    xid=$(on "$1" sql postgres -c "insert into ledger (client) values (99) returning xid")
    WANT+=("xid:$xid $(ledger_sum "$port")") # with its own row
    WANT+=("position:$(on "$1" sql postgres -c "select pg_current_wal_insert_lsn()") $(ledger_sum "$port")")
}
holds_on_both() { [ "$(of_wal '.status.holds | map(.node) | sort | join(" ")')" = "db-1 db-2" ]; }
since() { python3 -c "print(round($EPOCHREALTIME - $1, 1))"; }

one_version() {
    local WANT=() one got parent t0
    cluster_make "$1" 2
    on 1 sql postgres -c "alter system set synchronous_standby_names = 'n2'" -c "select pg_reload_conf()" >/dev/null
    cluster_daemons 2

    step "$1: log and snapshot, moments before the fork"
    tidemark log start wal --cluster test --storage "file://$T/repo" --flush-interval 1s >/dev/null
    wait_for 20 holds_on_both
    tidemark backup full --cluster test --storage "file://$T/repo" >/dev/null
    ledger_start 1 3
    sleep 1
    ledger_stop
    moment 1 before
    parent=$(of_wal .status.lineage)

    step "$1: the primary dies under load, its disk is gone"
    writer_start postgres
    ledger_start 1 3
    sleep 4
    host_dies 1
    t0=$EPOCHREALTIME
    ledger_stop
    wait "$WRITER_PID" 2>/dev/null || true
    on 2 sql postgres -c "alter system set synchronous_standby_names = ''" -c "select pg_reload_conf()" >/dev/null
    promote 2
    wait_for 30 leads 2
    printf '   the new primary leads after %s s\n' "$(since "$t0")"
    wait_safe 2
    printf '   all is safe again after %s s\n' "$(since "$t0")"
    all_acknowledged_in "$(port_of 2)"
    [ "$(of_wal .status.lineage)" != "$parent" ] || fail "the branch is the same"

    step "$1: moments behind the fork"
    ledger_start 2 3
    sleep 1
    ledger_stop
    moment 2 after
    wait_safe 2

    step "$1: latest holds all $(acknowledged) acknowledged rows"
    restore_begin latest
    all_acknowledged_in "$RESTORED_PORT"
    got=$(ledger_sum "$RESTORED_PORT")
    [ "$got" = "$(ledger_sum "$(port_of 2)")" ] || fail "latest is '$got'"
    [ "$(restored_timeline)" = 3 ] || fail "latest is on timeline $(restored_timeline)"
    restore_end

    step "$1: restores to ${#WANT[@]} moments before and behind the fork"
    for one in "${WANT[@]}"; do
        restore_begin "${one%% *}"
        got=$(ledger_sum "$RESTORED_PORT")
        [ "$got" = "${one#* }" ] || fail "restored to ${one%% *}: '$got' instead of '${one#* }'"
        # 2 is taken, also where the stop lies before the fork
        [ "$(restored_timeline)" = 3 ] || fail "restored to ${one%% *}: on timeline $(restored_timeline)"
        restore_end
        printf '   %s: %s\n' "${one%% *}" "$got"
    done

    step "$1: nothing is abandoned, nothing has a hole"
    got=$(agent_list | jq -r '.recoverable | map("\(.lineageLabel) \(.abandoned)") | join(", ")')
    [ "$got" = "2 false" ] || fail "list: $got: $(agent_list)"
    cluster_clear
}
for major in "${@:-15}"; do one_version "$major"; done
