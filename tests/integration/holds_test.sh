#!/usr/bin/env bash
# The log that a server keeps for backups: who sees it, what becomes of it when the agent has lost its record, and that
# nobody else's replication slot is touched.
#
#   holds_test.sh [MAJOR]     default: 15
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/resume_round.sh"

FOREIGN="tidemark_b_00000000_0123456789abcdef standby_1 tidemark_0123456789abcdef" # another cluster's, a standby's, a log backup's
held() { tidemark nodes --holds -o json | jq -r "[.items[] | $1] | join(\" \")"; }
held_is() { [ "$(held "$1")" = "$2" ]; }
lines() { grep -c "$1" "$T/agent.log" || true; } # TEXT: in the agent's log, of all its lives
slot() { sql postgres -c "select pg_create_physical_replication_slot('$1', true)" >/dev/null; }
all_slots() { sql postgres -c "select string_agg(slot_name::text, ' ' order by slot_name::text collate \"C\") from pg_replication_slots"; }
lose_state() {
    agent_kill
    find "$T/agent" -mindepth 1 -delete
}
slots_are() { [ "$(all_slots)" = "$1" ]; }

"${CC:-cc}" -D_GNU_SOURCE -shared -fPIC -O2 -o "$T/clock_shim.so" "$TOP/tests/integration/clock_shim.c"
chmod 755 "$T/clock_shim.so"
SCALE=1 resume_source "${1:-15}"
expect_out "no log is held anywhere" tidemark nodes --holds

step "while a backup is made: whose it is, how much, and that it is in use"
RATE=1 backup kept-on
checkpointed kept-on
wait_for 30 held_is 'select(.bytes > 0 and .bytes < 8589934592) | .state' inUse
NAME=$(sql postgres -c "select slot_name from pg_replication_slots")
expect_out "snapshot test db-a true main $NAME $(id_of kept-on) backup/kept-on false null" \
    held '(.kind, .cluster, .node, .connected, .tenant, .name, .backupId, .resource, .lost, .until) | tostring'
tidemark nodes --holds | finds -E "^db-a +main +$NAME +$(id_of kept-on) +[0-9.ms]+ +[0-9.]+ [KMG]?i?B +in use by backup/kept-on\$" || fail "$(tidemark nodes --holds)"

step "agent and record are gone: the slot is found, and whoever goes on with the backup has it again"
lose_state
note_stored kept-on
agent_start
wait_for 60 held_is '.state + .backupId' waiting
tidemark nodes --holds | finds -E "^db-a +main +$NAME +- .* no record of it, waits until 20[0-9T:-]*Z\$" || fail "$(tidemark nodes --holds)"
expect_out 1 lines "hold '$NAME' of tenant 'main' keeps log, and there is no record of it: it is dropped in 3600 s unless somebody goes on with its backup"
resumed kept-on
judge kept-on
expect_out "no log is held anywhere" tidemark nodes --holds

step "nobody goes on: it is dropped after an hour, and nobody else's is touched"
OWN=${NAME%_*}_00000000000000aa
# shellcheck disable=SC2086 # names are words
for one in $FOREIGN "$OWN" "${NAME%_*}_other"; do slot "$one"; done
OTHERS=$(all_slots | sed "s/$OWN //")
lose_state
agent_start
wait_for 60 held_is '.name' "$OWN"
until_s=$(date -d "$(held .until)" +%s)
left_s=$((until_s - $(date +%s)))
if [ "$left_s" -lt 3500 ] || [ "$left_s" -gt 3600 ]; then fail "until $(held .until)"; fi
agent_kill TERM
echo 3500000000 >"$T/clock" # not yet: the record outlives the agent
chmod 644 "$T/clock"
# ASan wants to be the first library that is loaded, and the shim is; it stands in for the clock only, so what ASan
# catches, it catches all the same
export LD_PRELOAD="$T/clock_shim.so" CLOCK_SHIM_FILE="$T/clock" ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0"
agent_start
unset LD_PRELOAD
wait_for 60 held_is '.state' waiting
sleep 12
expect_out "$OWN" held .name
echo 3700000000 >"$T/clock"
wait_for 60 slots_are "$OTHERS"
wait_for 30 held_is .name ''
expect_out 1 lines "hold '$OWN' of tenant 'main' is dropped: there is no record of it, and nobody went on with its backup for 3600 s"
expect_out 2 lines "there is no record of it: it is dropped in"
# shellcheck disable=SC2086
for one in $FOREIGN "${NAME%_*}_other"; do expect_out 0 lines "$one"; done
no_record() { ! grep -qsa tidemark_b_ "$T/agent/holds"; }
wait_for 10 no_record

step "a log backup's is listed, too"
log_held() { [ "$(held 'select(.bytes != null) | (.kind, .node, .tenant, .resource, .state, .lost) | tostring')" = "log db-a main backup/wal inUse false" ]; }
tidemark log start wal --cluster test --storage "file://$REPO" >/dev/null
wait_for 60 log_held
expect_out "$(held .name)" sql postgres -c "select slot_name from pg_replication_slots where slot_name not in ('${OTHERS// /\',\'}')"
tidemark nodes --holds | finds -E "^db-a +main +tidemark_[0-9a-f]{16} +backup/wal +- +[0-9.]+ [KMG]?i?B +in use by backup/wal\$" || fail "$(tidemark nodes --holds)"
resume_source_end
