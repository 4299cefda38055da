#!/usr/bin/env bash
# What makes it impossible to go on with an interrupted backup: it is told by name, the ranges start over by themselves,
# what there was is swept, and the backup that comes of it is whole. Then what of an earlier attempt is damaged in
# storage; a backup that nobody goes on with in time; one that is to keep nothing.
#
#   resume_refused_test.sh [MAJOR]     default: 15
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/resume_round.sh"
RATE=8 SCALE=2

warned() { of "$1" '.status.warnings[]?'; }
says() { # NAME PATTERN: one of its warnings matches, all of it
    local line
    while IFS= read -r line; do
        # shellcheck disable=SC2254 # a pattern
        case $line in
        $2)
            printf '   %s: %s\n' "$1" "$line"
            return
            ;;
        esac
    done < <(warned "$1")
    fail "$1 says '$(warned "$1")', not '$2'"
}
files_of() { find "$REPO" -path "*/backup/$1/*" -type f ! -name deleted.mpk; } # ID
nothing_of() { [ -z "$(files_of "$1")" ]; }
begins() { # NAME [LINE…]: until storage has enough of it to go on with; then the agent is killed
    backup "$@"
    checkpointed "$1"
    agent_kill
    note_stored "$1"
    DIR=$(dir_of "$1")
}
goes_on() { # NAME
    agent_start
    kept "$1"
    ask_again "$1"
    completes "$1"
}
refused() { # NAME PATTERN CMD…: CMD runs between the attempts
    local name=$1 pattern=$2 low
    shift 2
    begins "$name"
    "$@"
    low=$(ledger)
    agent_start
    tidemark wait backup "$name" --for=Failed --timeout=120s || fail "$name: $(of "$name" .status)"
    wait_for 30 node_is primary
    tidemark retry backup "$name" >/dev/null
    completes "$name"
    says "$name" "$pattern"
    [ "$(id_of "$name")" != "$ID" ] || fail "$name has the same id"
    nothing_of "$ID" || fail "left of $ID: $(files_of "$ID")"
    wait_for 30 no_holds
    judge "$name" "$low"
    delete_backup "$name"
}
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
slot='tidemark_b_????????_????????????????'
lsn='[0-9A-F]*/[0-9A-F]*'
over="ranges started over:"
cannot="$over instance 'main': the snapshot cannot be resumed:"

step "the server is another one than the earlier attempts read, in each way"
refused dropped-slot "$cannot replication slot '$slot', which held the log, is gone" drop_slot
refused images "$over log: full_page_writes was off at $lsn" images_off_and_on
refused new-space "$cannot tablespace [0-9]* at '$T/other-space' was created since the earlier attempt" new_space
refused old-space "$cannot tablespace [0-9]* at '$T/other-space' was dropped since the earlier attempt" drop_space
refused brief-space "$over log: tablespace [0-9]* at '$T/other-space' was created at $lsn, between the attempts" new_and_drop_space
refused low-level "$cannot replication slot '$slot' holds log from $lsn on, but it is stored only up to $lsn" level_down_and_up

step "what the earlier attempt stored is damaged"
damage() { # FILE
    local at=$(($(stat -c %s "$1") / 2)) byte
    byte=$(od -An -tu1 -j $at -N1 "$1" | tr -d ' ')
    # shellcheck disable=SC2059 # the byte is the format
    printf "\\x$(printf %x $((byte ^ 4)))" | dd of="$1" bs=1 seek=$at conv=notrunc status=none
}
begins no-object
gone=$(head -n 1 "$T/stored-no-object")
rm "$DIR/data/$gone"
goes_on no-object
expect_out "$ID" id_of no-object
says no-object "of what earlier attempts stored, 0 checkpoints and 1 ranges cannot be used: *${gone%%-*}*"
sed -i 1d "$T/stored-no-object"
STORED_BYTES=$(awk 'NR > 1 {sum += $2} END {print sum + 0}' "$T/noted")
not_read_again no-object
judge no-object
delete_backup no-object

begins bad-checkpoints
for object in "$DIR"/checkpoint/*; do damage "$object"; done
goes_on bad-checkpoints
says bad-checkpoints "of what earlier attempts stored, [1-9]* checkpoints and 0 ranges cannot be used: *"
wait_for 30 no_holds
judge bad-checkpoints
delete_backup bad-checkpoints
nothing_of "$ID" || fail "left of $ID: $(files_of "$ID")"

begins no-checkpoints
rm -r "$DIR/checkpoint"
goes_on no-checkpoints
wait_for 30 no_holds
judge no-checkpoints
delete_backup no-checkpoints
nothing_of "$ID" || fail "left of $ID: $(files_of "$ID")"

damage_log() {
    local chunk
    chunk=$(find "$DIR/log" -type f ! -name '.*' | sort | sed -n 1p)
    [ -n "$chunk" ] || fail "no log is stored"
    damage "$chunk"
}
refused bad-log "$over *log*" damage_log

step "nobody goes on with it in time: hold and checkpoint go, the job stays Failed; asked for again it begins anew"
BR="gcttl: 20" begins too-late
agent_start
kept too-late
wait_for 60 no_holds
grep -q "hold '$(sed 's/[?]/./g' <<<"$slot")' of backup '$ID', tenant 'main', is given up: nobody went on with the backup for 20 s" "$T/agent.log" ||
    fail "the agent does not say so"
wait_for 60 nothing_of "$ID"
expect_out Failed of too-late .status.phase
not_resumable() { [ "$(of too-late '.status.conditions[] | select(.type == "Failed") | .reason')" != Resumable ]; }
wait_for 30 not_resumable
ask_again too-late
completes too-late
[ "$(id_of too-late)" != "$ID" ] || fail "the same id"
[[ "$(warned too-late)" != *"$over"* ]] || fail "$(warned too-late)"
judge too-late
delete_backup too-late

step "without checkpoints nothing is held, and an interrupted backup is swept"
BR='options: ["--no-checkpoint"]' backup plain
wait_for 60 begun plain
sleep 6
expect_out 0 slots
no_holds || fail "a hold"
note_stored plain
[ ! -s "$T/stored-plain" ] || fail "a checkpoint: $(cat "$T/stored-plain")"
agent_kill
agent_start
tidemark wait backup plain --for=Failed --timeout=120s
[ "$(of plain '.status.conditions[] | select(.type == "Failed") | .reason')" != Resumable ] || fail "it may be gone on with"
wait_for 30 nothing_of "$ID"
ask_again plain
completes plain
[ "$(id_of plain)" != "$ID" ] || fail "the same id"
judge plain
delete_backup plain

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
