#!/usr/bin/env bash
# A snapshot beside a log task: it lists the task's log instead of storing its own, and restores like any other;
# where the task leaves a hole it stores its own. Deleting it, or truncating the log, takes nothing from the other.
#
#   log_share_test.sh [MAJOR…]     default: $TIDEMARK_TEST_MAJORS, or 15
. "$(dirname "$0")/../lib/harness.sh"
READER=$TOP/tests/integration/format_reader.py

of_wal() { tidemark get backup wal -o json | jq -r "$1"; }
is_safe() { [[ $(of_wal ".status.logCheckpointTs // empty") > $1 ]]; }
all_removed() { [ "$(of_wal .status.logTruncate.removing)" = false ]; }
now_by_source() { sql postgres -c "select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"; }
warnings_of() { tidemark get backup "$1" -o json | jq -r '.status.warnings // [] | join("; ")'; }
phase_is() { [ "$(tidemark get backup "$1" -o json | jq -r .status.phase)" = "$2" ]; }
dir_of() { # BACKUP: where it lies
    local path
    path=$(tidemark get backup "$1" -o json | jq -r .status.backupPath)
    printf '%s' "${path#file://}"
}
own_log() { find "$(dir_of "$1")" -path '*/log/*' -type f | wc -l; }
task_chunks() { find "$T/repo" -path '*/log/*/chunk/*' -type f | wc -l; }
verify() { as_postgres "$BUILD/tidemark-agent" verify --storage "file://$T/repo" --cluster test; }
restored_max() { # BACKUP TARGET: what the restored clone holds
    local dir=$T/restore/clone
    as_postgres "$BUILD/tidemark-agent" restore -q --storage "file://$T/repo" --cluster test --backup "$(id_of "$1")" \
        --data-dir "$dir" --to "$2" --start --port $((PGPORT + 1)) --set unix_socket_directories="$T/run" \
        --set tidemark.bindir="$(bindir "$MAJOR")" >"$T/restore.log" 2>&1 || fail "restore to $2: $(cat "$T/restore.log")"
    printf '%s %s\n' "$MAJOR" "$dir" >"$(mark_of "$dir")"
    PGPORT=$((PGPORT + 1)) sql postgres -c "select max(id) from ledger"
    postgres_stop "$MAJOR" "$dir" immediate
    rm -rf "$dir"
}
id_of() { basename "$(dir_of "$1")"; }
insert_to() { sql postgres -c "insert into ledger select generate_series((select coalesce(max(id), 0) + 1 from ledger), $1)"; }
backup() { # NAME [more of br]
    cat >"$T/backup.yaml" <<X
apiVersion: tidemark/v1
kind: Backup
metadata: {name: $1}
spec:
  br: {cluster: test, concurrency: 2${2:+, $2}}
  local: {path: $T/repo}
  cleanPolicy: Delete
X
    tidemark apply -f "$T/backup.yaml" >/dev/null
}
slow_backup() { # NAME: it runs for some seconds
    backup "$1" "rateLimit: 6"
    wait_for 30 phase_is "$1" Running
    sleep 1
}
finished() { # NAME: and is whole
    tidemark wait backup "$1" --for=Complete --timeout=180s
    verify >/dev/null || fail "verify finds fault after $1"
}

one_version() {
    MAJOR=$1
    install -d -o postgres -g postgres "$T/restore" "$T/repo"
    postgres_init "$MAJOR" "$T/source" -k
    echo "max_slot_wal_keep_size = 4GB" >>"$T/source/postgresql.conf"
    postgres_start "$MAJOR" "$T/source"
    sql postgres -c "create table ledger (id int primary key, at timestamptz default clock_timestamp())"
    daemons_start "$T/source"

    step "$MAJOR: a snapshot beside a running task has no log of its own"
    tidemark log start wal --cluster test --storage "file://$T/repo" --flush-interval 1s >/dev/null
    insert_to 100
    backup shared
    finished shared
    [ "$(own_log shared)" -eq 0 ] || fail "it stores $(own_log shared) chunks of its own"
    [ "$(warnings_of shared)" = "" ] || fail "warnings: $(warnings_of shared)"
    sleep 0.1
    local middle last
    middle=$(now_by_source)
    sleep 0.1
    insert_to 200
    last=$(now_by_source)
    wait_for 15 is_safe "$last"

    step "$MAJOR: it restores: alone, to where it is consistent, and on from there"
    as_postgres "$BUILD/tidemark-agent" restore -q --storage "file://$T/repo" --cluster test \
        --backup "$(id_of shared)" --data-dir "$T/restore/plain" --to immediate
    "$TOP/tests/integration/manifest_check.py" "$T/restore/plain"
    if [ "$MAJOR" -eq 15 ]; then
        as_postgres "$PG15/pg_verifybackup" -q "$T/restore/plain" || fail "pg_verifybackup"
    fi
    expect_out 100 restored_max shared immediate
    expect_out 100 restored_max shared "$middle"
    expect_out 200 restored_max shared latest

    step "$MAJOR: truncating takes nothing that it lists"
    backup newer
    finished newer
    tidemark log truncate wal --until "$(now_by_source)" --force --grace 1s
    wait_for 20 all_removed
    verify >/dev/null || fail "verify finds fault after truncating"
    expect_out 100 restored_max shared immediate

    step "$MAJOR: paused meanwhile: it stores its own, and says why"
    slow_backup paused
    tidemark log pause wal >/dev/null
    insert_to 300
    finished paused
    [ "$(own_log paused)" -ge 1 ] || fail "it has no log"
    case $(warnings_of paused) in
    "the backup stores its own log: the log backup has stored the log only up to "*) ;;
    *) fail "warnings: $(warnings_of paused)" ;;
    esac
    tidemark log resume wal >/dev/null
    last=$(now_by_source)
    wait_for 15 is_safe "$last"
    expect_out 300 restored_max paused immediate
    expect_out 300 restored_max paused latest

    step "$MAJOR: the task's slot is dropped meanwhile: what it has then decides"
    slow_backup dropped
    tidemark log pause wal >/dev/null
    sql postgres -c "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not temporary" >/dev/null
    insert_to 400
    sql postgres -c "select pg_switch_wal()" -c "insert into ledger values (401)" >/dev/null
    tidemark log resume wal >/dev/null
    finished dropped
    echo "warnings: $(warnings_of dropped); own chunks: $(own_log dropped)"
    expect_out 401 restored_max dropped immediate
    last=$(now_by_source)
    wait_for 15 is_safe "$last"

    step "$MAJOR: deleting a backup leaves the log alone; what a second reader says"
    local chunks shared
    shared=$(dir_of shared)
    chunks=$(task_chunks)
    tidemark delete backup shared --grace 0
    wait_for 30 test ! -e "$shared/manifest.mpk"
    wait_for 30 test ! -e "$shared/data"
    [ "$(task_chunks)" -ge "$chunks" ] || fail "$(task_chunks) of $chunks chunks are left"
    [ "$(of_wal .status.phase)" = Running ] || fail "the task is $(of_wal .status.phase)"
    verify >/dev/null || fail "verify finds fault after deleting"
    daemons_stop
    [ "$MAJOR" -ne 15 ] || "$READER" "$T/repo" || fail "the second reader refuses the repository"

    postgres_stop "$MAJOR" "$T/source" immediate
    rm -rf "$T/source" "$T/repo" "$T/restore" "$T/agent" "$T/coordinator"
}

for majors in "${@:-${TIDEMARK_TEST_MAJORS:-15}}"; do
    for major in $majors; do one_version "$major"; done
done
