#!/usr/bin/env bash
# A directory of very many files: backup and restore both work, and stay below 64 MiB each.
TIDEMARK_TEST_DIR=/var/tmp # on a disk, whatever others do
. "$(dirname "$0")/../lib/harness.sh"

FILES=${MANY_FILES:-100000}
LIMIT_KIB=65536

# The highest resident set of a process, looked at for as long as it lives; it keeps its own peak.
hwm_kib() { awk '/^VmHWM/ {print $2}' "/proc/$1/status" 2>/dev/null; }
watch() { # PID FILE
    local kib
    while kill -0 "$1" 2>/dev/null; do
        kib=$(hwm_kib "$1") || true
        [ -z "$kib" ] || echo "$kib" >"$2"
        sleep 0.1
    done
}
# sanitizers keep shadows and quarantines of their own, so there the memory says nothing
below_limit() { # WHAT KIB
    [ -n "${TIDEMARK_SANITIZED:-}" ] || [ "$2" -lt "$LIMIT_KIB" ] || fail "$1 took $2 KiB of memory"
}
count_files() { find "$1" -type f -name '[0-9]*' | wc -l; }
phase() { tidemark get backup "$1" -o json | jq -r .status.phase; }
is_over() { case $(phase many) in Complete | Failed) ;; *) return 1 ;; esac }

step "a database with $FILES empty relations"
postgres_init 15 "$T/data" -k
postgres_start 15 "$T/data"
sql postgres -c 'create database many'
oid=$(sql postgres -c "select oid from pg_database where datname = 'many'")
(cd "$T/data/base/$oid" && seq 1000000 $((999999 + FILES)) | as_postgres xargs touch)
expected=$(count_files "$T/data/base/$oid")

step "backup"
daemons_start "$T/data"
cat >"$T/backup.yaml" <<Y
apiVersion: tidemark/v1
kind: Backup
metadata: {name: many}
spec:
  br: {cluster: test, concurrency: 2}
  local: {path: $T/repo}
Y
tidemark apply -f "$T/backup.yaml" >/dev/null
runner=''
has_runner() { runner=$(runner_pids | head -n 1) && [ -n "$runner" ]; }
wait_for 20 has_runner
watch "$runner" "$T/runner.kib" &
wait_for 300 is_over
expect_out Complete phase many
wait $!
below_limit agent "$(hwm_kib "$AGENT_PID")"
below_limit runner "$(cat "$T/runner.kib")"

step "restore"
install -d -o postgres -g postgres "$T/restore"
spawn "$T/restore.log" "$BUILD/tidemark-agent" restore --storage "file://$T/repo" --cluster test --data-dir "$T/restore/new"
watch "$SPAWNED" "$T/restore.kib" &
wait "$SPAWNED" || fail "the restore failed"
wait $!
below_limit restore "$(cat "$T/restore.kib")"
expect_out "$expected" count_files "$T/restore/new/base/$oid"
