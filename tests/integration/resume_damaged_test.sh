#!/usr/bin/env bash
# What of an interrupted backup is damaged in storage is read again, or all of it; a backup that nobody goes on with in
# time; one that is to keep nothing.
#
#   resume_damaged_test.sh [MAJOR]     default: 15
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/resume_round.sh"
. "$TOP/tests/lib/resume_refused.sh"

resume_source "${1:-15}"

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
daemons_stop
