#!/usr/bin/env bash
# Log that is missing or damaged, and moments that cannot be had: what was lost is said with its exact bounds, what lies
# before and behind it restores, and a restore that cannot be right writes nothing.
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/log_kill.sh"

stored_safely() {
    local mark
    mark=$(now_by_source)
    wait_for 30 is_safe "$mark"
}
# a moment that storage proves at once, because a commit follows it: it is in $MOMENT
moment() {
    sleep 0.1
    MOMENT=$(now_by_source)
    sleep 0.1
    sql postgres -c "insert into ticks default values"
    stored_safely
}
insert() { sql postgres -c "insert into ledger (id, client) select n, 0 from generate_series($1, $2) n"; } # FROM TO
restore() { # TARGET [options]: into $T/restore/r, not started
    local target=$1
    shift
    rm -rf "$T/restore/r"
    as_postgres "$BUILD/tidemark-agent" restore -q --storage "file://${REPO:-$T/repo}" --cluster test \
        --data-dir "$T/restore/r" --to "$target" "$@"
}
holds_up_to() { # TARGET MAX [options]: restored, started, and the ledger ends there, without a hole
    local target=$1 max=$2 got
    shift 2
    restore "$target" --start --port $((PGPORT + 1)) --set unix_socket_directories="$T/run" "$@" >"$T/restore.log" 2>&1 ||
        fail "restore to $target: $(cat "$T/restore.log")"
    printf '15 %s\n' "$T/restore/r" >"$(mark_of "$T/restore/r")"
    got=$(PGPORT=$((PGPORT + 1)) sql postgres -c "select count(*), max(id) from ledger")
    postgres_stop 15 "$T/restore/r" immediate
    [ "$got" = "$max|$max" ] || fail "restored to $target: '$got' instead of '$max|$max'"
}
refused() { # TEXT TARGET [options]: status 1 or 3, said, and nothing written
    local text=$1 out status=0
    shift
    out=$(restore "$@" 2>&1) || status=$?
    [ "$status" -eq 1 ] || [ "$status" -eq 3 ] || fail "restore to $1 ended with status $status: $out"
    case $out in *"$text"*) ;; *) fail "restore to $1 said '$out', which does not contain '$text'" ;; esac
    echo "   $out"
    [ ! -e "$T/restore/r" ] || fail "a refused restore to $1 left a directory"
}
segments() { # N: so many segments pass, and what nothing keeps is recycled
    local n
    for n in $(seq "$1"); do sql postgres -c "select pg_switch_wal()" -c "select pg_logical_emit_message(false, 't', repeat('x', 1000))" >/dev/null; done
    sql postgres -c checkpoint -c checkpoint
}
slot_status() { sql postgres -c "select wal_status from pg_replication_slots where slot_name ~ '^tidemark_(?!b_)'"; }
reserved() { [ "$(slot_status)" = reserved ]; }
error_is() { of_wal '.status.lastError | select(.node == "db-a" and .stage == "'"$1"'" and (.since | length) >= 20) | .message' | grep -F "$2"; }
no_error() { [ "$(of_wal '.status.lastError // "none"')" = none ]; }
warns() { of_wal '.status.warnings[]' | grep -F "$1"; }
needs_full() { [ "$(of_wal '.status.needsFullBackup // false')" = true ]; }
needs_none() { [ "$(of_wal '.status.needsFullBackup // false')" = false ]; }
slot() { sql postgres -c "select slot_name from pg_replication_slots where slot_name ~ '^tidemark_(?!b_)'"; }
interval() { # N FIELD: of the intervals that storage alone tells, in order of time
    as_postgres "$BUILD/tidemark-agent" list --storage "file://$T/repo" -o json >"$T/list.json"
    jq -r "[.. | .recoverable? // empty] | flatten | sort_by(.from) | .[$1].$2" "$T/list.json"
}
flip() { # FILE OFFSET: one bit of that byte
    local byte
    byte=$(od -An -tu1 -j "$2" -N1 "$1" | tr -d ' ')
    printf "\\x$(printf %x $((byte ^ 16)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
damaged() { # TEXT: list says it of the one lineage, for people and for programs, and the backups all the same
    as_postgres "$BUILD/tidemark-agent" list --storage "file://$T/broken" >"$T/list.txt"
    grep -q "^test/main: lineage [0-9a-f]*: damaged: object '.*$1" "$T/list.txt" || fail "list: $(cat "$T/list.txt")"
    [ "$(grep -c ' committed ' "$T/list.txt")" = 3 ] || fail "list: $(cat "$T/list.txt")"
    as_postgres "$BUILD/tidemark-agent" list --storage "file://$T/broken" -o json >"$T/list.json"
    expect_json "$T/list.json" '.damagedLineages | length' 1
    jq -r '.damagedLineages[0].message' "$T/list.json" | finds "$1" || fail "list: $(cat "$T/list.json")"
}
intervals_are() {
    interval 0 from >/dev/null
    expect_json "$T/list.json" '.recoverable | length' "$1"
}

WAL_KEEP=0
log_source
sql postgres -c "create table ticks (at timestamptz default clock_timestamp())"
printf '%s\n' "checkpoint_timeout = 1h" "min_wal_size = 32MB" >>"$T/source/postgresql.conf"
sql postgres -c "select pg_reload_conf()" >/dev/null
daemons_start "$T/source"
tidemark log start wal --cluster test --storage "file://$T/repo" --flush-interval 300ms >/dev/null
tidemark wait backup wal --for=Running --timeout=30s
early=$(now_by_source)
tidemark backup first --cluster test --storage "file://$T/repo" >/dev/null

step "moments that cannot be had are refused with those that can"
insert 1 100
sql postgres -c "select pg_create_restore_point('twice'), pg_create_restore_point('once')" >/dev/null
insert 101 200
sql postgres -c "select pg_create_restore_point('twice')" >/dev/null
moment
before_hole=$MOMENT
holds_up_to "$before_hole" 200
holds_up_to name:once 100
refused "2099" 2099-01-01T00:00:00Z
refused "$(interval 0 from | cut -c1-19)" "$early" --dry-run # which does not wait for what may still be stored
plan() { tidemark restore plan --backup wal --data-dir "$T/restore/r" --dry-run --to "$@"; } # by the node's agent
rm -rf "$T/restore/r"
expect_fail 3 "2099" plan 2099-01-01T00:00:00Z
plan "$before_hole" >"$T/plan.txt"
grep -q "of log to replay up to the record at 0/" "$T/plan.txt" || fail "plan: $(cat "$T/plan.txt")"
[ ! -e "$T/restore/r" ] || fail "a dry run left a directory"
refused "is there 2 times" name:twice
refused "'nobody'" name:nobody
refused "4000000000" xid:4000000000

step "paused; the slot is dropped by somebody, log is lost: told, and after the resume the hole has exact bounds"
tidemark log pause wal >/dev/null
insert 201 300
sql postgres -c "select pg_drop_replication_slot('$(slot)')" >/dev/null
segments 6
wait_for 15 error_is hold "was dropped by somebody: log from 0/"
tidemark log resume wal >/dev/null
wait_for 15 needs_full
warns "no backup leads to what is stored now; take a full backup" >/dev/null || fail "warnings: $(of_wal .status.warnings)"
stored_safely
lost_from=$(sql postgres -c "select '$(interval 0 toPosition)'::pg_lsn")
warns "log from $lost_from to 0/" | finds "[1-9A-F]000000 is missing: the source had recycled it" || fail "warnings: $(of_wal .status.warnings)"
in_hole=$(now_by_source)
agent_kill TERM # who comes later reads of the hole in storage
agent_start
wait_for 20 node_is primary
gap_is_told() { warns "log from $lost_from to 0/" | grep "[1-9A-F]000000 is missing: the source had recycled it"; }
fresh_lead() { [ "$(of_wal '.status.logCheckpointTs')" \> "$in_hole" ]; }
wait_for 30 fresh_lead
wait_for 15 gap_is_told
needs_full || fail "no full backup is asked for after a restart"
insert 301 400
stored_safely
refused "$lost_from" "$in_hole" --dry-run
holds_up_to "$before_hole" 200
tidemark backup second --cluster test --storage "file://$T/repo" >/dev/null
wait_for 30 needs_none
! warns "is missing" >/dev/null || fail "warnings: $(of_wal .status.warnings)"
insert 401 500
moment
after=$MOMENT
holds_up_to "$after" 500
holds_up_to latest 500
refused "$lost_from" "$in_hole"
expect_fail 3 "$lost_from" plan "$in_hole"
holds_up_to "$before_hole" 200
intervals_are 2

step "paused; the server may recycle what the slot holds, and has not yet: nothing is missing after the resume"
sql postgres -c "alter system set max_slot_wal_keep_size = '16MB'" -c "select pg_reload_conf()" >/dev/null
tidemark log pause wal >/dev/null
for _ in 1 2 3; do sql postgres -c "select pg_switch_wal()" -c "select pg_logical_emit_message(false, 't', 'x')" >/dev/null; done
[ "$(slot_status)" = unreserved ] || fail "the slot is $(slot_status)"
wait_for 15 warns "the server gives it up at its next checkpoint unless what it holds is stored before"
tidemark log resume wal >/dev/null
insert 501 600
moment
needs_none || fail "a full backup is asked for: $(of_wal .status.warnings)"
wait_for 15 no_error

intervals_are 2
wait_for 15 reserved
holds_up_to "$MOMENT" 600

step "paused; the server gives the slot up: told, and the same hole as one that was dropped"
tidemark log pause wal >/dev/null
insert 601 700
segments 6
[ "$(slot_status)" = lost ] || fail "the slot is $(slot_status)"
wait_for 15 error_is hold "has released or recycled the log that hold"
warns "the hold on node 'db-a' was released or lost" >/dev/null || fail "warnings: $(of_wal .status.warnings)"
tidemark log resume wal >/dev/null
wait_for 15 needs_full
sql postgres -c "alter system reset max_slot_wal_keep_size" -c "select pg_reload_conf()" >/dev/null
insert 701 800
tidemark backup third --cluster test --storage "file://$T/repo" >/dev/null
wait_for 30 needs_none
insert 801 900
moment
middle=$MOMENT
insert 901 1000
behind=$(sql postgres -c "select pg_current_wal_insert_lsn()")
stored_safely
moment
holds_up_to "$MOMENT" 1000
holds_up_to "$after" 500

intervals_are 3

step "verify reads the log, also where there is nothing else: its gaps are told, and no damage"
copy_repo "$T/broken"
verify() { as_postgres "$BUILD/tidemark-agent" verify --storage "file://$T/broken"; }
verify >"$T/verify.txt" || fail "verify: $(cat "$T/verify.txt")"
rm -rf "$T"/broken/*/*/*/backup
verify >"$T/verify.txt" || fail "verify: $(cat "$T/verify.txt")"
grep -q "^log [0-9a-f]* test/main$" "$T/verify.txt" || fail "verify: $(cat "$T/verify.txt")"
[ "$(grep -c '^  no log from 0/' "$T/verify.txt")" = 2 ] || fail "verify: $(cat "$T/verify.txt")"
grep -q "^  good: $(find "$T/broken" -path '*/chunk/*' -type f | wc -l) objects, .* 2 gaps$" "$T/verify.txt" ||
    fail "verify: $(cat "$T/verify.txt")"
chunk=$(find "$T/broken" -path '*/chunk/*' -type f | sort | sed -n 3p)
flip "$chunk" 200
expect_fail 1 "${chunk##*/}" verify
expect_fail 1 "log of 1 of 1 lineages is damaged" verify
rm -rf "$T/broken"

step "a chunk is damaged, or gone: before it works, across it is refused, naming it and what cannot be had"
copy_repo "$T/broken"
# the chunk that holds the transaction behind $middle
name=$(find "$T/broken" -path '*/chunk/*' -printf '%f\n' | sort |
    awk -v at="$(printf '%016x' "$(sql postgres -c "select '$behind'::pg_lsn - '0/1'::pg_lsn")")" 'substr($1, 1, 16) <= at' | tail -n 1)
chunk=$(find "$T/broken" -name "$name")
[ "$chunk" != "$(find "$T/broken" -path '*/chunk/*' | sort | tail -n 1)" ] || fail "$name is the last chunk"
at=$(sql postgres -c "select '0/0'::pg_lsn + x'${name:0:16}'::bigint")
flip "$chunk" 200
REPO=$T/broken refused "log from $at to 0/" latest
REPO=$T/broken refused "$name" latest
REPO=$T/broken holds_up_to "$middle" 900
truncate -s -1 "$chunk"
REPO=$T/broken refused "no backup leads there, as log from $at to 0/" latest
REPO=$T/broken refused "is missing or damaged (log object '${chunk#"$T"/broken/*/*/*/}')" latest
rm "$chunk"
REPO=$T/broken refused "no backup leads there, as log from $at to 0/" latest
REPO=$T/broken refused "($at)" "$MOMENT" --dry-run
REPO=$T/broken holds_up_to "$middle" 900
rm -rf "$T/broken"

step "the newest chunk is gone, which no other one names: a mark tells, and nothing is claimed behind the loss"
newest() { find "$T/broken" -path "*/log/*/$1/*" | sort | tail -n 1; } # there is one lineage
copied_with_mark() { # behind the newest chunk's beginning: behind the end of the one before
    copy_repo "$T/broken"
    [[ $(basename "$(newest mark)") > $(basename "$(newest chunk)") ]]
}
wait_for 40 copied_with_mark
rm "$(newest chunk)"
as_postgres "$BUILD/tidemark-agent" list --storage "file://$T/broken" >"$T/list.txt"
grep -q "^test/main: lineage [0-9a-f]*: damaged: log from 0/.* to 0/.*, which was stored, is missing or damaged$" "$T/list.txt" ||
    fail "list: $(cat "$T/list.txt")"
REPO=$T/broken refused "has lost its end: log from " latest
REPO=$T/broken holds_up_to "$middle" 900
rm -rf "$T/broken"

step "the record of the lineage, or of a writer, is damaged or gone: told by list, and what needs it is refused by name"
copy_repo "$T/broken"
record=$(find "$T/broken" -name lineage.mpk)
writer=$(find "$T/broken" -path '*/writer/*' -type f | sort | sed -n 1p)
for object in "$record" "$writer"; do
    flip "$object" 100
    damaged "${object#"$T"/broken/}"
    expect_fail 1 "is damaged: object " as_postgres "$BUILD/tidemark-agent" search --storage "file://$T/broken" --cluster test
    REPO=$T/broken refused "lies here and is damaged" latest
    REPO=$T/broken refused "${object##*/}" "$middle" --dry-run
    REPO=$T/broken holds_up_to immediate 800
    flip "$object" 100
done
mv "$record" "$T/record"
damaged "lineage.mpk' is missing, log lies there"
REPO=$T/broken refused "lies here without its record" latest
REPO=$T/broken refused "${record##*/}' is missing" "$middle" --dry-run
REPO=$T/broken holds_up_to immediate 800
mv "$T/record" "$record"
REPO=$T/broken holds_up_to "$middle" 900
rm -rf "$T/broken"

step "a tablespace made in the log: a restore on the source's own host does not touch it"
install -d -o postgres -g postgres -m 700 "$T/space" "$T/restore/space2"
sql postgres -c "create tablespace space location '$T/space'"
sql postgres -c "create table precious tablespace space as select n from generate_series(1, 1000) n"
moment
for roots in "" "--restore-root $T/restore"; do
    # shellcheck disable=SC2086 # words
    refused "$T/space" latest $roots
done
holds_up_to "$middle" 900
expect_out 1000 sql postgres -c "select count(*) from precious"
sql postgres -c "drop table precious" -c "drop tablespace space"
# in one that is empty and where restores may go it is made anew
sql postgres -c "create tablespace space2 location '$T/restore/space2'"
moment
refused "$T/space" latest --restore-root "$T/restore" # of the first one, whose directory is outside
daemons_stop
