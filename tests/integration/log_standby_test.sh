#!/usr/bin/env bash
# Standbys in a log backup. As holders: their slots follow the checkpoint, a standby that keeps less than a failover would
# need is told, and a lead that was a holder uses the slot it had. As sources (logSource standby): the log is streamed
# from a standby, and promises only what that has received.
#
#   log_standby_test.sh [MAJOR…]     default: 15
. "$(dirname "$0")/../lib/harness.sh"
. "$(dirname "$0")/../lib/nodes.sh"

slot_of() { on "$1" sql postgres -c "select slot_name || ' ' || restart_lsn from pg_replication_slots where slot_name ~ '^tidemark_(?!b_)'"; }
warned() { of_wal '.status.warnings // [] | .[]' | finds -F "$1"; }
not_warned() { ! warned "$1"; }
writes() { # N [SECONDS]
    ledger_start "$1" 2
    sleep "${2:-0.4}"
    ledger_stop
}
# N: the slot there is at or before the checkpoint, and not more than one segment behind it
follows() {
    [ "$(on "$1" sql postgres -c "select c >= restart_lsn and c - restart_lsn <= 16777216 from
        (select '$(of_wal .status.logCheckpointPosition)'::pg_lsn as c) p, pg_replication_slots where slot_name ~ '^tidemark_(?!b_)'")" = t ]
}
holders() { [ "$(of_wal '.status.holds | map(.node) | sort | join(" ")')" = "$1" ]; }
risk_of() { [ "$(of_wal ".status.holds | map(select(.node == \"db-$1\"))[0].atRisk")" = "$2" ]; }

as_holder() {
    local name
    cluster_make "$1" 2
    cluster_daemons 2
    tidemark log start wal --cluster test --storage "file://$T/repo" --flush-interval 1s >/dev/null
    tidemark backup full --cluster test --storage "file://$T/repo" >/dev/null
    wait_for 20 holders "db-1 db-2"

    step "$1: the standby's slot follows the checkpoint"
    name=$(slot_of 2 | cut -d' ' -f1)
    [ "$name" = "$(slot_of 1 | cut -d' ' -f1)" ] || fail "the slots have different names"
    writes 1
    on 1 sql postgres -c "select pg_switch_wal()" >/dev/null
    writes 1
    wait_safe 1
    wait_for 20 follows 2
    risk_of 2 false || fail "at risk: $(of_wal .status.holds)"

    step "$1: storage is away; a standby that comes now keeps too little: failover at risk"
    chmod 000 "$T/repo"
    writes 1
    on 1 sql postgres -c "select pg_switch_wal()" -c "checkpoint" >/dev/null
    writes 1
    copy_make 1 3
    standby_conf 1 3
    server_start 3
    agent_on 3
    wait_for 30 warned "failover at risk: standby 'db-3' keeps less log than a failover to it would need"
    risk_of 3 true || fail "no risk: $(of_wal .status.holds)"
    risk_of 2 false || fail "at risk: $(of_wal .status.holds)"
    chmod 755 "$T/repo"
    wait_for 60 not_warned "failover at risk"
    wait_safe 1
    risk_of 3 false || fail "at risk: $(of_wal .status.holds)"

    step "$1: the promoted standby uses the slot that it has"
    server_stop 3
    host_dies 1
    promote 2
    wait_for 30 leads 2
    writes 2
    wait_safe 2
    [ "$(slot_of 2 | cut -d' ' -f1)" = "$name" ] || fail "the slot is '$(slot_of 2)'"
    wait_for 20 follows 2
    [ "$(of_wal '.status.needsFullBackup // false')" = false ] || fail "a full backup is asked for"
    expect_out "$(ledger_sum "$(port_of 2)")" restore_to latest
    cluster_clear
}
says() { [[ $(of_wal ".status.logCheckpointTs // empty") > $1 ]]; }
as_source() {
    local first mark lag
    cluster_make "$1" 2
    cluster_daemons 2

    step "$1: the log comes from the standby"
    tidemark log start wal --cluster test --storage "file://$T/repo" --flush-interval 1s --source standby >/dev/null
    tidemark backup full --cluster test --storage "file://$T/repo" >/dev/null
    leads 2 || fail "node $(of_wal .status.node) leads"
    writes 1
    mark=$(now_of 1)
    sql postgres -c "insert into ledger (client) values (7)"
    wait_for 30 says "$mark"
    first=$(of_wal .status.lineage)
    wait_for 20 follows 2
    expect_out "$(ledger_sum "$(port_of 1)")" restore_to latest

    step "$1: a standby that receives nothing promises nothing"
    on 2 sql postgres -c "alter system set primary_conninfo = ''" -c "select pg_reload_conf()" >/dev/null
    wait_for 10 cut_off
    lag=$(now_of 1)
    writes 1
    wait_for 20 warned "the standby receives no stream"
    sleep 5
    [[ $(of_wal .status.logCheckpointTs) < $lag ]] || fail "safe to $(of_wal .status.logCheckpointTs), but nothing came since $lag"
    agent_list | jq -e --arg lag "$lag" '.recoverable | all(.to < $lag)' >/dev/null || fail "list: $(agent_list)"
    on 2 sql postgres -c "alter system reset primary_conninfo" -c "select pg_reload_conf()" >/dev/null
    sql postgres -c "insert into ledger (client) values (7)"
    wait_for 30 says "$lag"
    wait_for 20 not_warned "the standby receives no stream"

    step "$1: the source is promoted: it goes on with a child of its lineage"
    server_stop 1
    promote 2
    wait_for 30 another_lineage "$first"
    writes 2
    wait_safe 2
    expect_out "$(ledger_sum "$(port_of 2)")" restore_to latest
    [ "$(agent_list | jq -r '.recoverable | map("\(.lineageLabel) \(.abandoned)") | join(", ")')" = "2 false" ] || fail "list: $(agent_list)"
    cluster_clear
}
another_lineage() { [ "$(of_wal .status.lineage)" != "$1" ]; }
cut_off() { [ "$(on 2 sql postgres -c "select count(*) from pg_stat_wal_receiver")" = 0 ]; }
for major in "${@:-15}"; do
    as_holder "$major"
    as_source "$major"
done
