#!/usr/bin/env bash
# The log in one storage, full backups in another: the log task tells what both together can restore, and minds
# the backups when it truncates; also while their storage is away.
set -euo pipefail
. "$(dirname "$0")/../lib/harness.sh"

MAJOR=15

of_wal() { tidemark log status wal -o json | jq -r "$1"; }
told_away() { # it is named as the only thing that is wrong
    [ "$(of_wal '.status.warnings // [] | map(select(startswith("backups in ")) | split(": ")[0]) | join("; ")')" = "$1" ]
}
is_safe() { [[ $(of_wal ".status.logCheckpointTs // empty") > $1 ]]; }
leads_on() { [ "$(of_wal .status.needsFullBackup)" = null ]; }
has_intervals() { [ "$(of_wal '.status.recoverable | length')" = "$1" ]; }
# what is the same for the task and for whoever has nothing but storage; ends are compared by themselves
told() { of_wal '.status.recoverable | map({lineage, fromPosition, backupId, from, abandoned})'; }
listed() {
    as_postgres "$BUILD/tidemark-agent" list --storage "file://$T/logs" --full-backup-storage "file://$T/fulls" \
        --cluster test -o json
}
path_of() { tidemark get backup "$1" -o json | jq -r .status.backupPath; }
id_of() { basename "$(path_of "$1")"; }
now_by_source() { sql postgres -c "select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"; }
insert_to() { sql postgres -c "insert into ledger select generate_series((select coalesce(max(id), 0) + 1 from ledger), $1)"; }
next_segment() { sql postgres -c "select pg_switch_wal()" >/dev/null; }

postgres_init $MAJOR "$T/source"
postgres_start $MAJOR "$T/source"
sql postgres -c "create table ledger (id int primary key)"
install -d -o postgres -g postgres "$T/logs" "$T/fulls" "$T/restore"
daemons_start "$T/source"

step "a full backup there is what leads to the log here"
tidemark log start wal --cluster test --storage "file://$T/logs" --flush-interval 1s >/dev/null
insert_to 100
tidemark backup first --clean-policy Delete --cluster test --storage "file://$T/fulls" >/dev/null
wait_for 20 has_intervals 1
wait_for 10 leads_on
expect_out "$(id_of first)" of_wal '.status.recoverable[0].backupId'
insert_to 200
last=$(now_by_source)
wait_for 15 is_safe "$last"

step "it ends at the checkpoint, seconds ago; storage says the same"
expect_out true of_wal '.status | .recoverable[0].to == .logCheckpointTs and .recoverable[0].toPosition == .logCheckpointPosition'
[[ $(of_wal '.status.recoverable[0].to') > $last ]] || fail "it ends at $(of_wal '.status.recoverable[0].to')"
listed >"$T/listed"
diff <(jq -S '[.. | .recoverable? // empty] | flatten | map({lineage, fromPosition, backupId: .backup, from, abandoned})' "$T/listed") \
    <(told | jq -S .) || fail "storage alone says $(cat "$T/listed")"

step "the storage of the backups is away: what was known stays; no truncation unless forced"
mv "$T/fulls" "$T/fulls.away"
expect_fail 1 "log is not truncated: backups in 'file://$T/fulls' cannot be read now, and may need the log: try again later, or force: " \
    tidemark log truncate wal --until "$last"
expect_fail 1 "cannot be read now" tidemark log truncate wal --until "$last" --dry-run
wait_for 15 told_away "backups in 'file://$T/fulls' cannot be read now, what was known of them counts"
expect_out "$(id_of first)" of_wal '.status.recoverable | map(.backupId) | join(" ")'
expect_out null of_wal .status.needsFullBackup
mv "$T/fulls.away" "$T/fulls"

step "truncating minds the backup there: refused only where it cuts what that needs"
next_segment
tidemark backup second --cluster test --storage "file://$T/fulls" >/dev/null
insert_to 300
late=$(now_by_source)
wait_for 15 is_safe "$late"
expect_fail 1 "log is not truncated: backup '$(id_of first)', consistent at " tidemark log truncate wal --until "$late"
tidemark log truncate wal --until "$last" >/dev/null # only the first lies before: nothing goes
expect_out "$(id_of first)" of_wal '.status.recoverable[0].backupId'
first=$(path_of first)
[ -e "${first#file://}/manifest.mpk" ] || fail "$first has no manifest"
tidemark delete backup first >/dev/null
wait_for 15 test -e "${first#file://}/deleted.mpk" # its objects stay for their grace: it is gone all the same
tidemark log truncate wal --until "$late" >/dev/null
one_from_second() { [ "$(of_wal '.status.recoverable | map(.backupId) | join(" ")')" = "$(id_of second)" ]; }
wait_for 15 one_from_second
told_away "" || fail "warnings: $(of_wal .status.warnings)"
as_postgres "$BUILD/tidemark-agent" restore -q --storage "file://$T/logs" --full-backup-storage "file://$T/fulls" \
    --cluster test --data-dir "$T/restore/r1" --to "$late" --start --port $((PGPORT + 1)) --set unix_socket_directories="$T/run" \
    --set tidemark.bindir="$(bindir $MAJOR)" >"$T/restore.log" 2>&1 || fail "restore: $(cat "$T/restore.log")"
printf '%s %s\n' "$MAJOR" "$T/restore/r1" >"$(mark_of "$T/restore/r1")"
expect_out 300 env PGPORT=$((PGPORT + 1)) "$PG15/psql" -h "$T/run" -U postgres -XAtc "select max(id) from ledger" postgres

step "a backup that was deleted and retained is minded like the others: it can be restored as ever"
install -d -o postgres -g postgres "$T/kept"
tidemark backup third --cluster test --storage "file://$T/kept" >/dev/null
third=$(path_of third)
tidemark delete backup third >/dev/null
[ -e "${third#file://}/manifest.mpk" ] || fail "$third has no manifest"
mv "$T/kept" "$T/kept.away"
expect_fail 1 "backups in 'file://$T/kept' cannot be read now" tidemark log truncate wal --until "$late" --dry-run
mv "$T/kept.away" "$T/kept"
tidemark log truncate wal --until "$late" --dry-run >/dev/null
