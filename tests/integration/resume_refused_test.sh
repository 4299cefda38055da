#!/usr/bin/env bash
# A server that is another one than an interrupted backup has read, in each way, and so makes it impossible to go on with
# it: it is told by name, the ranges start over by themselves, what there was is swept, and the backup that comes of it is
# whole.
#
#   resume_refused_test.sh [MAJOR]     default: 15
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/resume_round.sh"
. "$TOP/tests/lib/resume_refused.sh"

setting_is() { [ "$(sql postgres -c "show $1")" = "$2" ]; }
set_and_reload() { # SETTING VALUE
    sql postgres -c "alter system set $1 = '$2'" -c "select pg_reload_conf()" >/dev/null
    wait_for 10 setting_is "$1" "$2"
}
restart() {
    postgres_stop "$MAJOR" "$T/source"
    postgres_start "$MAJOR" "$T/source"
}
drop_slot() { sql postgres -c "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name like 'tidemark_b_%'" >/dev/null; }
images_off_and_on() {
    set_and_reload full_page_writes off
    churned
    set_and_reload full_page_writes on
}
new_space() {
    install -d -o postgres -g postgres "$T/other-space"
    sql postgres -c "create tablespace other location '$T/other-space'"
    SPACES+=("$T/other-space")
}
drop_space() {
    sql postgres -c "drop tablespace other"
    SPACES=("$T/space")
}
new_and_drop_space() { new_space && drop_space; }
level_down_and_up() { # the server does not start with a slot and this level
    local slot
    slot=$(sql postgres -c "select slot_name from pg_replication_slots where slot_name like 'tidemark_b_%'")
    drop_slot
    sql postgres -c "alter system set wal_level = minimal" -c "alter system set max_wal_senders = 0"
    restart
    sql postgres -c "alter system reset all"
    restart
    sql postgres -c "select pg_create_physical_replication_slot('$slot', true)" >/dev/null
}

resume_source "${1:-15}"

step "the server is another one than the earlier attempts read, in each way"
refused dropped-slot "$cannot replication slot '$slot', which held the log, is gone" drop_slot
refused images "$over log: full_page_writes was off at $lsn" images_off_and_on
refused new-space "$cannot tablespace [0-9]* at '$T/other-space' was created since the earlier attempt" new_space
refused old-space "$cannot tablespace [0-9]* at '$T/other-space' was dropped since the earlier attempt" drop_space
refused brief-space "$over log: tablespace [0-9]* at '$T/other-space' was created at $lsn, between the attempts" new_and_drop_space
refused low-level "$cannot replication slot '$slot' holds log from $lsn on, but it is stored only up to $lsn" level_down_and_up

step "another timeline: a standby that was promoted took over"
begins promoted
load_stop
postgres_stop "$MAJOR" "$T/source"
cp -a "$T/source" "$T/standby"
rm -rf "$T/standby/pg_replslot"/* "$T/standby/postmaster.pid"
as_postgres touch "$T/standby/standby.signal"
postgres_start "$MAJOR" "$T/standby"
sql postgres -c "select pg_promote()" >/dev/null
wait_for 30 recovery_is_over
agent_config "$T/standby"
agent_start
tidemark wait backup promoted --for=Failed --timeout=120s
ask_again promoted
completes promoted
says promoted "$cannot the server is on timeline 2 now, the earlier attempt was on 1"
[ "$(id_of promoted)" != "$ID" ] || fail "the same id"
nothing_of "$ID" || fail "left of $ID: $(files_of "$ID")"
wait_for 30 no_holds
restored promoted
delete_backup promoted

step "on the timeline that follows, a backup goes on as on the first"
begins on-two
goes_on on-two
expect_out "$ID" id_of on-two
not_read_again on-two
[[ "$(warned on-two)" != *"$over"* ]] || fail "$(warned on-two)"
wait_for 30 no_holds
restored on-two
delete_backup on-two

step "another server in the same place, which is meant"
begins other "acceptIncarnation: true"
postgres_stop "$MAJOR" "$T/standby"
rm -rf "$T/standby" "$T/space" "$T/other-space"
postgres_init "$MAJOR" "$T/standby" -k
postgres_start "$MAJOR" "$T/standby"
pgbench -i -q -s 1 postgres >/dev/null 2>&1
agent_start
tidemark wait backup other --for=Failed --timeout=120s
ask_again other
completes other
says other "$cannot the server has system identifier [0-9]*, the earlier attempt was on [0-9]*"
[ "$(id_of other)" != "$ID" ] || fail "the same id"
wait_for 60 nothing_of "$ID"
wait_for 30 no_holds
SPACES=()
restored other
daemons_stop
