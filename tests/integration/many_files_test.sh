#!/usr/bin/env bash
# A directory of very many files: backup and restore both work, and stay below 64 MiB each.
TIDEMARK_TEST_DIR=/var/tmp # on a disk, whatever others do
. "$(dirname "$0")/../lib/harness.sh"
. "$(dirname "$0")/../lib/memory.sh"

FILES=${MANY_FILES:-100000}
LIMIT_KIB=65536

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
memory_watch "$AGENT_PID" agent
memory_watch "$AGENT_PID" children
tidemark apply -f "$T/backup.yaml" >/dev/null
wait_for 300 is_over
expect_out Complete phase many
memory_end
memory_below agent "$LIMIT_KIB"
memory_below children "$LIMIT_KIB"

step "restore"
install -d -o postgres -g postgres "$T/restore"
spawn "$T/restore.log" "$BUILD/tidemark-agent" restore --storage "file://$T/repo" --cluster test --data-dir "$T/restore/new"
memory_watch "$SPAWNED" restore
wait "$SPAWNED" || fail "the restore failed"
memory_end
memory_below restore "$LIMIT_KIB"
expect_out "$expected" count_files "$T/restore/new/base/$oid"
